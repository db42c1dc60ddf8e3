"""Who leaves a full cache so that a newcomer fits: decided from weights, owners and order of use. Pure.

Nobody holds more than half: a tenant's own least recently used models make room up to there, and then the least
recently used of all. What is in use stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """A thing in the cache, or the one that wants to be: its key, whose it is, and its weight in bytes."""

    key: object
    owner: str
    size_bytes: int
    in_use: bool = False


def select_evictions(new: CacheEntry, others: Sequence[CacheEntry], budget: int) -> list[CacheEntry] | None:
    """Those of `others` (the least recently used first) that leave; None: the new one does not fit, nobody leaves.

    `budget` in bytes; 0: there is room for all.
    """
    if not budget:
        return []
    idle = [each for each in others if not each.in_use]
    own = [each for each in idle if each.owner == new.owner]
    too_much = new.size_bytes + sum(each.size_bytes for each in others if each.owner == new.owner) - budget // 2
    going = _first(own, too_much)
    if going is None:
        return None
    too_much = (
        new.size_bytes + sum(each.size_bytes for each in others) - sum(each.size_bytes for each in going) - budget
    )
    more = _first([each for each in idle if each not in going], too_much)
    return None if more is None else going + more


def _first(candidates: Sequence[CacheEntry], weight: int) -> list[CacheEntry] | None:
    """As many of the first as weigh that much together; None: all of them do not."""
    found: list[CacheEntry] = []
    for each in candidates:
        if weight <= 0:
            break
        found.append(each)
        weight -= each.size_bytes
    return found if weight <= 0 else None
