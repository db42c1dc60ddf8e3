"""A cache of values made from stored files, with single flight, conditional refresh and a negative cache.

- Single flight: concurrent lookups of one key share one load.
- Conditional refresh: once a value is older than `refresh_s`, one thread checks whether its file has changed and
  reloads it, while other threads use the old value.
- Negative cache: failures that would repeat are kept for `negative_ttl_s` and raised without another load.
- Bounded: it keeps `max_entries` values and as many failures at most. The cost of a lookup does not depend on how
  many it keeps, except for what `select_evictions` reads.

It knows neither what the values are nor where the files are stored.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass, replace
from typing import Final, Generic, Literal, TypeVar

from shared.errors import DeadlineExceeded
from shared.ml.cache_entries import Entry, OtherValues
from shared.ml.negative_cache import NegativeCache
from shared.runtime import deadline

K = TypeVar("K")
V = TypeVar("V")
LookupOutcome = Literal["hit", "wait", "miss"]

MAX_ENTRIES: Final = 10_000  # of about 1 kB each beside its value
_REFRESH_RETRY_S: Final = 10.0
_MAX_WAIT_S: Final = 3600.0  # where no event limits it: `threading` takes no infinite timeout
_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class CacheCounts:
    """What a cache has done since it was last cleared."""

    hits: int = 0
    misses: int = 0
    waits: int = 0
    loads: int = 0
    failures: int = 0
    refreshes: int = 0
    evictions: int = 0


def _wait_for(load: Future[V]) -> V:
    """Return the result of another thread's load, and wait for it until the event's deadline at most."""
    wait([load], timeout=deadline.remaining_s(at_most=_MAX_WAIT_S))
    if not load.done():
        raise DeadlineExceeded("Timed out waiting for a file that another event is loading")
    return load.result()


class RenewingCache(Generic[K, V]):
    """A thread-safe cache of values that `load` makes from files."""

    def __init__(
        self,
        *,
        load: Callable[[K], V],
        changed: Callable[[K, V], bool],
        refresh_s: float,
        on_lookup: Callable[[LookupOutcome], None] = lambda _: None,
        select_evictions: Callable[[K, V, Mapping[K, V]], Iterable[K] | None] = lambda *_: (),
        clone_error: Callable[[BaseException], Exception | None] = lambda _: None,
        negative_ttl_s: float = 0.0,
        max_entries: int = MAX_ENTRIES,
        size: Callable[[V], int] = lambda _: 0,
    ) -> None:
        """Create an empty cache.

        Args:
            load: Makes the value of a key. It may raise FileNotFoundError or anything else.
            changed: Returns whether a value's file has changed. It may raise like `load`; FileNotFoundError
                removes the value from the cache.
            refresh_s: The age at which a value is checked for changes.
            on_lookup: Called by each `get` as soon as its outcome is known.
            select_evictions: Returns which of the other values to evict for one that was just loaded, or None if
                that one is not to be cached. The others are given least recently used first.
            clone_error: Returns a fresh copy of an error that belongs into the negative cache, or None.
            negative_ttl_s: How long an error stays in the negative cache.
            max_entries: How many values are kept, and how many errors. Beyond, the least recently used value and
                the oldest error are dropped.
            size: Returns the size of a value, for `total_size`.
        """
        self._load_value = load
        self._changed = changed
        self._refresh_s = refresh_s
        self._on_lookup = on_lookup
        self._select_evictions = select_evictions
        self._max_entries = max_entries
        self._size = size
        self._lock = threading.Lock()
        self._entries: OrderedDict[K, Entry[V]] = OrderedDict()  # least recently used first
        self._loads: dict[K, Future[V]] = {}
        self._expired_loads: set[K] = set()
        self._errors: NegativeCache[K] = NegativeCache(clone_error, negative_ttl_s, max_entries)
        self._total_size = 0
        self._counts = CacheCounts()

    def get(self, key: K) -> V:
        """Return the value of a key, and load it if it is not cached; errors of `load` are raised."""
        with self._lock:
            entry = self._entries.get(key)
            load = None if entry else self._loads.get(key)
            error = None if entry or load else self._errors.get(key)
            if entry:
                self._entries.move_to_end(key)
            elif error:
                load = Future()
                load.set_exception(error)
            elif not load:
                own_load: Future[V] = Future()
                self._loads[key] = own_load
        if entry:
            self._on_lookup("hit")
            return self._refresh_if_due(key, entry)
        if load:
            self._increment("waits")
            self._on_lookup("wait")
            return _wait_for(load)
        self._increment("misses")
        self._on_lookup("miss")
        return self._load_for_all(key, own_load)

    def get_cached(self, key: K) -> V | None:
        """Return the value of a key, refreshed if that is due, or None if it is not cached."""
        with self._lock:
            entry = self._entries.get(key)
            if entry:
                self._entries.move_to_end(key)
        return self._refresh_if_due(key, entry) if entry else None

    def peek(self, key: K) -> V | None:
        """Return the value of a key without a refresh, or None if it is not cached; that is no use of it."""
        with self._lock:
            entry = self._entries.get(key)
        return entry.value if entry else None

    def expire(self, keys: Iterable[K]) -> None:
        """Refresh these keys at their next use, and drop their negative entries.

        A load or refresh that is under way may have seen the file before: its value expires too.
        """
        with self._lock:
            for key in keys:
                self._errors.remove(key)
                if key in self._loads:
                    self._expired_loads.add(key)
                if entry := self._entries.get(key):
                    entry.fresh_until = 0.0
                    entry.expirations += 1

    def contents(self) -> dict[K, V]:
        """Return the cached values, least recently used first."""
        with self._lock:
            return {key: entry.value for key, entry in self._entries.items()}

    def __len__(self) -> int:
        """Return the number of cached values."""
        return len(self._entries)

    @property
    def total_size(self) -> int:
        """The size of all cached values together."""
        return self._total_size

    @property
    def counts(self) -> CacheCounts:
        return self._counts

    def clear(self) -> None:
        """Remove all values and reset the counts. A load under way still answers the threads that wait for it."""
        with self._lock:
            self._entries = OrderedDict()
            self._loads = {}
            self._expired_loads = set()
            self._errors.clear()
            self._total_size = 0
            self._counts = CacheCounts()

    def _load_for_all(self, key: K, load: Future[V]) -> V:
        """Load a value, and give it or the error to all threads that wait for `load`."""
        try:
            value = self._load(key)
        except BaseException as error:
            with self._lock:
                if self._loads.get(key) is load:
                    del self._loads[key]
                    if key not in self._expired_loads:
                        self._errors.add(key, error)
                    self._expired_loads.discard(key)
            self._increment("failures")
            load.set_exception(error)
            raise
        evicted: list[Entry[V]] = []
        with self._lock:
            if self._loads.get(key) is load:  # the cache was not cleared meanwhile
                del self._loads[key]
                is_expired = key in self._expired_loads
                self._expired_loads.discard(key)
                evicted = self._store(key, Entry(value, 0.0 if is_expired else time.monotonic() + self._refresh_s))
        load.set_result(value)
        del evicted  # outside the lock: releasing a model takes a while
        return value

    def _store(self, key: K, entry: Entry[V]) -> list[Entry[V]]:
        """Store a new or reloaded entry if it fits, and return the evicted ones. The caller holds the lock."""
        evicted_keys = self._select_evictions(key, entry.value, OtherValues(self._entries, key))
        if evicted_keys is None:
            evicted = self._remove(key)
        else:
            evicted = [removed for evicted_key in evicted_keys for removed in self._remove(evicted_key)]
            if key in self._entries:
                self._total_size -= self._entries[key].size
            elif len(self._entries) >= self._max_entries:
                evicted += self._remove(next(iter(self._entries)))
            self._entries[key] = entry
            entry.size = self._size(entry.value)
            self._total_size += entry.size
        self._counts = replace(self._counts, evictions=self._counts.evictions + len(evicted))
        return evicted

    def _remove(self, key: K) -> list[Entry[V]]:
        """Remove and return the entry of a key, if there is one. The caller holds the lock."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return []
        self._total_size -= entry.size
        return [entry]

    def _refresh_if_due(self, key: K, entry: Entry[V]) -> V:
        """Return the entry's value, after a conditional refresh if that is due and no other thread is at it."""
        self._increment("hits")
        if time.monotonic() < entry.fresh_until or not entry.refresh_lock.acquire(blocking=False):
            return entry.value
        expirations = entry.expirations
        try:
            if self._changed(key, entry.value):
                old, entry.value = entry.value, self._load(key)  # other threads use the old value until here
                self._increment("refreshes")
                with self._lock:
                    evicted = self._store(key, entry) if self._entries.get(key) is entry else []
                del old, evicted
            self._set_fresh(entry, self._refresh_s, expirations)
        except FileNotFoundError:
            with self._lock:
                if self._entries.get(key) is entry:
                    self._remove(key)
            raise
        except Exception as error:  # noqa: BLE001 - whatever failed, MemoryError too: the old value is good
            self._set_fresh(entry, min(_REFRESH_RETRY_S, self._refresh_s), expirations)
            self._increment("failures")
            _LOG.warning("Refresh of %s failed, keeping %s: %r", key, entry.value, error)
        finally:
            entry.refresh_lock.release()
        return entry.value

    def _set_fresh(self, entry: Entry[V], seconds: float, expirations: int) -> None:
        """Have no refresh for some seconds, unless the entry expired since `expirations` was read."""
        with self._lock:
            if entry.expirations == expirations:
                entry.fresh_until = time.monotonic() + seconds

    def _load(self, key: K) -> V:
        value = self._load_value(key)
        self._increment("loads")
        return value

    def _increment(self, counter: str) -> None:
        with self._lock:
            self._counts = replace(self._counts, **{counter: getattr(self._counts, counter) + 1})
