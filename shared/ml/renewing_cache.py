"""A cache of values made from stored files, with single flight, conditional refresh and a negative cache.

- Single flight: concurrent lookups of one key share one load.
- Conditional refresh: once a value is older than `refresh_s`, one thread checks whether its file has changed and
  reloads it, while other threads use the old value.
- Negative cache: failures that would repeat are kept for `negative_ttl_s` and raised without another load.

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
from shared.runtime import deadline

K = TypeVar("K")
V = TypeVar("V")
LookupOutcome = Literal["hit", "wait", "miss"]

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


class _Entry(Generic[V]):
    __slots__ = ("fresh_until", "refresh_lock", "value")

    def __init__(self, value: V, fresh_until: float) -> None:
        self.value = value
        self.fresh_until = fresh_until  # of `time.monotonic`
        self.refresh_lock = threading.Lock()


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
        """
        self._load_value = load
        self._changed = changed
        self._refresh_s = refresh_s
        self._on_lookup = on_lookup
        self._select_evictions = select_evictions
        self._clone_error = clone_error
        self._negative_ttl_s = negative_ttl_s
        self._lock = threading.Lock()
        self._entries: OrderedDict[K, _Entry[V]] = OrderedDict()  # least recently used first
        self._loads: dict[K, Future[V]] = {}
        self._errors: dict[K, tuple[float, Exception]] = {}  # the negative cache: expiry and error
        self._counts = CacheCounts()

    def get(self, key: K) -> V:
        """Return the value of a key, and load it if it is not cached; errors of `load` are raised."""
        with self._lock:
            entry = self._entries.get(key)
            load = None if entry else self._loads.get(key)
            negative = None if entry or load else self._errors.get(key)
            if entry:
                self._entries.move_to_end(key)
            elif negative and time.monotonic() < negative[0]:
                load = Future()
                load.set_exception(self._clone_error(negative[1]))
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
        return self._refresh_if_due(key, entry) if entry else None

    def expire(self, is_expired: Callable[[K], bool]) -> None:
        """Refresh the matching keys at their next use, and drop their negative entries."""
        with self._lock:
            for key, entry in self._entries.items():
                if is_expired(key):
                    entry.fresh_until = 0.0
            self._errors = {key: negative for key, negative in self._errors.items() if not is_expired(key)}

    def contents(self) -> dict[K, V]:
        """Return the cached values, least recently used first."""
        with self._lock:
            return {key: entry.value for key, entry in self._entries.items()}

    @property
    def counts(self) -> CacheCounts:
        return self._counts

    def clear(self) -> None:
        """Remove all values and reset the counts. A load under way still answers the threads that wait for it."""
        with self._lock:
            self._entries = OrderedDict()
            self._loads = {}
            self._errors = {}
            self._counts = CacheCounts()

    def _load_for_all(self, key: K, load: Future[V]) -> V:
        """Load a value, and give it or the error to all threads that wait for `load`."""
        try:
            value = self._load(key)
        except BaseException as error:
            with self._lock:
                if self._loads.get(key) is load:
                    del self._loads[key]
                    self._add_negative_entry(key, error)
            self._increment("failures")
            load.set_exception(error)
            raise
        evicted: list[_Entry[V]] = []
        with self._lock:
            if self._loads.get(key) is load:  # the cache was not cleared meanwhile
                del self._loads[key]
                evicted = self._store(key, _Entry(value, time.monotonic() + self._refresh_s))
        load.set_result(value)
        del evicted  # outside the lock: releasing a model takes a while
        return value

    def _store(self, key: K, entry: _Entry[V]) -> list[_Entry[V]]:
        """Store a new or reloaded entry if it fits, and return the evicted ones. The caller holds the lock."""
        others = {other_key: other.value for other_key, other in self._entries.items() if other_key != key}
        evicted_keys = self._select_evictions(key, entry.value, others)
        if evicted_keys is None:
            evicted = [self._entries.pop(key)] if key in self._entries else []
        else:
            self._entries[key] = entry
            evicted = [self._entries.pop(evicted_key) for evicted_key in evicted_keys]
        self._counts = replace(self._counts, evictions=self._counts.evictions + len(evicted))
        return evicted

    def _add_negative_entry(self, key: K, error: BaseException) -> None:
        """Remember an error if it is worth it, and drop expired ones. The caller holds the lock."""
        now = time.monotonic()
        self._errors = {each: negative for each, negative in self._errors.items() if now < negative[0]}
        # A copy has no traceback, whose frames would keep files and images alive.
        if copy := self._clone_error(error):
            self._errors[key] = now + self._negative_ttl_s, copy

    def _refresh_if_due(self, key: K, entry: _Entry[V]) -> V:
        """Return the entry's value, after a conditional refresh if that is due and no other thread is at it."""
        self._increment("hits")
        if time.monotonic() < entry.fresh_until or not entry.refresh_lock.acquire(blocking=False):
            return entry.value
        try:
            if self._changed(key, entry.value):
                old, entry.value = entry.value, self._load(key)  # other threads use the old value until here
                self._increment("refreshes")
                with self._lock:
                    evicted = self._store(key, entry) if self._entries.get(key) is entry else []
                del old, evicted
            entry.fresh_until = time.monotonic() + self._refresh_s
        except FileNotFoundError:
            with self._lock:
                if self._entries.get(key) is entry:
                    del self._entries[key]
            raise
        except Exception as error:  # noqa: BLE001 - whatever failed, MemoryError too: the old value is good
            entry.fresh_until = time.monotonic() + min(_REFRESH_RETRY_S, self._refresh_s)
            self._increment("failures")
            _LOG.warning("Refresh of %s failed, keeping %s: %r", key, entry.value, error)
        finally:
            entry.refresh_lock.release()
        return entry.value

    def _load(self, key: K) -> V:
        value = self._load_value(key)
        self._increment("loads")
        return value

    def _increment(self, counter: str) -> None:
        with self._lock:
            self._counts = replace(self._counts, **{counter: getattr(self._counts, counter) + 1})
