"""What a RenewingCache keeps of a value, and a view of all values but one."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Entry(Generic[V]):
    """A cached value; `expirations` counts how often it was declared out of date."""

    __slots__ = ("expirations", "fresh_until", "refresh_lock", "size", "value")

    def __init__(self, value: V, fresh_until: float) -> None:
        self.value = value
        self.fresh_until = fresh_until  # of `time.monotonic`
        self.refresh_lock = threading.Lock()
        self.expirations = 0
        self.size = 0


class OtherValues(Mapping[K, V]):
    """The values of all entries but one, without a copy."""

    def __init__(self, entries: Mapping[K, Entry[V]], key: K) -> None:
        self._entries, self._key = entries, key

    def __getitem__(self, key: K) -> V:
        if key == self._key:
            raise KeyError(key)
        return self._entries[key].value

    def __iter__(self) -> Iterator[K]:
        return (key for key in self._entries if key != self._key)

    def __len__(self) -> int:
        return len(self._entries) - (self._key in self._entries)
