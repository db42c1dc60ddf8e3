"""Selects the cache entries to evict so that a new one fits: least recently used first, with a quota per owner.

An owner may use at most half of the cache. Its own least recently used entries are evicted until the new one fits
its half, and then the least recently used of all until the new one fits the cache. Entries in use are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

K = TypeVar("K")


@dataclass(slots=True, eq=False)
class CacheEntry:
    """What eviction depends on. An entry `in_use` is never evicted."""

    owner: str
    size_bytes: int
    in_use: bool = False


def select_evictions(new: CacheEntry, cached: Mapping[K, CacheEntry], max_bytes: int) -> list[K] | None:
    """Return the keys to evict so that `new` fits, or None if it cannot fit.

    Args:
        new: The entry to add. One that it replaces must not be in `cached`.
        cached: The entries in the cache, the least recently used first.
        max_bytes: The size of the cache; 0 is no limit.
    """
    if not max_bytes:
        return []
    owned_bytes = sum(entry.size_bytes for entry in cached.values() if entry.owner == new.owner)
    idle = {key: entry.size_bytes for key, entry in cached.items() if not entry.in_use}
    own_idle = {key: size for key, size in idle.items() if cached[key].owner == new.owner}
    evicted = _first_keys(own_idle, owned_bytes + new.size_bytes - max_bytes // 2)
    if evicted is None:
        return None
    remaining_bytes = sum(entry.size_bytes for entry in cached.values()) - sum(idle.pop(key) for key in evicted)
    more = _first_keys(idle, remaining_bytes + new.size_bytes - max_bytes)
    return None if more is None else evicted + more


def _first_keys(sizes: Mapping[K, int], excess_bytes: int) -> list[K] | None:
    """Return as many of the first keys as free `excess_bytes`, or None if all of them free less."""
    keys: list[K] = []
    for key, size in sizes.items():
        if excess_bytes <= 0:
            break
        keys.append(key)
        excess_bytes -= size
    return keys if excess_bytes <= 0 else None
