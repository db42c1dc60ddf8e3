"""Remembers for a moment which keys failed to load, up to a number of them. It is not thread-safe."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class NegativeCache(Generic[K]):
    """The errors of keys, each for the same time; the oldest is dropped for one too many."""

    def __init__(
        self, clone_error: Callable[[BaseException], Exception | None], ttl_s: float, max_entries: int
    ) -> None:
        """Keep errors that `clone_error` copies; it returns None for those that are not worth it."""
        self._clone_error = clone_error
        self._ttl_s = ttl_s
        self._max_entries = max_entries
        self._errors: OrderedDict[K, tuple[float, Exception]] = OrderedDict()  # the first to expire first

    def get(self, key: K) -> Exception | None:
        """Return a copy of the error of a key, or None if there is none."""
        expires_at, error = self._errors.get(key, (0.0, None))
        return self._clone_error(error) if error and time.monotonic() < expires_at else None

    def add(self, key: K, error: BaseException) -> None:
        """Remember an error if it is worth it, and drop those that expired."""
        now = time.monotonic()
        self.remove(key)
        while self._errors:
            oldest, (expires_at, _) = next(iter(self._errors.items()))
            if now < expires_at and len(self._errors) < self._max_entries:
                break
            del self._errors[oldest]
        # A copy has no traceback, whose frames would keep files and images alive.
        if copy := self._clone_error(error):
            self._errors[key] = now + self._ttl_s, copy

    def remove(self, key: K) -> None:
        self._errors.pop(key, None)

    def clear(self) -> None:
        self._errors.clear()
