"""A cache of things made from stored files: each loaded once, kept between events, renewed when its file is.

It does not know what the things are, nor where files lie.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass, field, replace
from typing import Final, Generic, Literal, TypeVar

from shared.errors import DeadlineExceeded
from shared.runtime import deadline

K = TypeVar("K")
V = TypeVar("V")
LookupOutcome = Literal["hit", "wait", "miss"]

_RETRY_S: Final = 10.0
_LONGEST_S: Final = 3600.0
_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Counts:
    """What a cache did since it was last cleared."""

    hits: int = 0
    misses: int = 0
    waits: int = 0
    loads: int = 0
    failures: int = 0
    refreshes: int = 0
    evictions: int = 0


@dataclass(slots=True)
class _Entry(Generic[V]):
    value: V
    fresh_until: float
    refreshing: threading.Lock = field(default_factory=threading.Lock)


def _waited_for(load: Future[V]) -> V:
    """What somebody else loads, waited for no longer than the waiter's own event may take."""
    wait([load], timeout=deadline.remaining_s(at_most=_LONGEST_S))
    if not load.done():
        raise DeadlineExceeded("What another event is loading was not here in time")
    return load.result()


class RenewingCache(Generic[K, V]):
    """Shared by all threads. `load` makes a value and `changed` tells whether its file is another by now.

    Both may raise; FileNotFoundError means that the file is gone, and its value is then forgotten. `tell` hears
    of each `get` as soon as it is known whether the value is here. `leaving` says which of the values here, the
    least recently used first, make room for one that has just been loaded; None: that one is not kept. `again`
    gives a new error like one that a load failed with, if that load is not worth trying again for `remember_s`.
    """

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
        self._load_value = load
        self._changed = changed
        self._refresh_s = refresh_s
        self._on_lookup = on_lookup
        self._select_evictions = select_evictions
        self._clone_error = clone_error
        self._negative_ttl_s = negative_ttl_s
        self._lock = threading.Lock()
        self._entries: OrderedDict[K, _Entry[V]] = OrderedDict()  # the least recently used first
        self._loads: dict[K, Future[V]] = {}
        self._failed: dict[K, tuple[float, Exception]] = {}
        self._counts = Counts()

    def get(self, key: K) -> V:
        """The value, loaded at most once at a time however many ask; what fails is raised."""
        with self._lock:
            entry = self._entries.get(key)
            load = None if entry else self._loads.get(key)
            failed = None if entry or load else self._failed.get(key)
            if entry:
                self._entries.move_to_end(key)
            elif failed and time.monotonic() < failed[0]:
                load = Future()
                load.set_exception(self._clone_error(failed[1]))
            elif not load:
                mine: Future[V] = Future()
                self._loads[key] = mine
        if entry:
            self._on_lookup("hit")
            return self._refreshed(key, entry)
        if load:
            self._count("waits")
            self._on_lookup("wait")
            return _waited_for(load)
        self._count("misses")
        self._on_lookup("miss")
        return self._load_for_all(key, mine)

    def get_cached(self, key: K) -> V | None:
        """The value if it is here, renewed if that is due; never loads what is not here."""
        with self._lock:
            entry = self._entries.get(key)
        return self._refreshed(key, entry) if entry else None

    def expire(self, wanted: Callable[[K], bool]) -> None:
        """Have the file asked for at the next use of each of these, whether it is due or not."""
        with self._lock:
            for key, entry in self._entries.items():
                if wanted(key):
                    entry.fresh_until = 0.0
            self._failed = {key: failed for key, failed in self._failed.items() if not wanted(key)}

    def contents(self) -> dict[K, V]:
        with self._lock:
            return {key: entry.value for key, entry in self._entries.items()}

    @property
    def counts(self) -> Counts:
        return self._counts

    def clear(self) -> None:
        """Forget every value and every count. A load under way still answers those who wait for it."""
        with self._lock:
            self._entries = OrderedDict()
            self._loads = {}
            self._failed = {}
            self._counts = Counts()

    def _load_for_all(self, key: K, load: Future[V]) -> V:
        """Load, and give the value or the failure to all who wait; a failure is not kept, or not for long."""
        try:
            value = self._load(key)
        except BaseException as error:
            with self._lock:
                if self._loads.get(key) is load:
                    del self._loads[key]
                    self._remember(key, error)
            self._count("failures")
            load.set_exception(error)
            raise
        evicted: list[_Entry[V]] = []
        with self._lock:
            if self._loads.get(key) is load:  # unless cleared meanwhile
                del self._loads[key]
                evicted = self._keep(key, _Entry(value, time.monotonic() + self._refresh_s))
        load.set_result(value)
        del evicted  # outside the lock: it takes a while
        return value

    def _keep(self, key: K, entry: _Entry[V]) -> list[_Entry[V]]:
        """Keep an entry, new or renewed, if there is room, and give those that made room. Under the lock."""
        others = {each: held.value for each, held in self._entries.items() if each != key}
        chosen = self._select_evictions(key, entry.value, others)
        if chosen is None:
            evicted = [self._entries.pop(key)] if key in self._entries else []
        else:
            self._entries[key] = entry
            evicted = [self._entries.pop(each) for each in chosen]
        self._counts = replace(self._counts, evictions=self._counts.evictions + len(evicted))
        return evicted

    def _remember(self, key: K, error: BaseException) -> None:
        """Under the lock."""
        now = time.monotonic()
        self._failed = {each: failed for each, failed in self._failed.items() if now < failed[0]}
        if like_it := self._clone_error(error):  # whose traceback holds no frames, and these no files nor images
            self._failed[key] = now + self._negative_ttl_s, like_it

    def _refreshed(self, key: K, entry: _Entry[V]) -> V:
        """The entry's value, after asking about its file if that is due. One thread asks, the others go on."""
        self._count("hits")
        if time.monotonic() < entry.fresh_until or not entry.refreshing.acquire(blocking=False):
            return entry.value
        try:
            if self._changed(key, entry.value):
                old, entry.value = entry.value, self._load(key)  # which served until this line is done
                self._count("refreshes")
                with self._lock:
                    evicted = self._keep(key, entry) if self._entries.get(key) is entry else []
                del old, evicted
            entry.fresh_until = time.monotonic() + self._refresh_s
        except FileNotFoundError:
            with self._lock:
                if self._entries.get(key) is entry:
                    del self._entries[key]
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, memory too: the value that is here is good
            entry.fresh_until = time.monotonic() + min(_RETRY_S, self._refresh_s)
            self._count("failures")
            _LOG.warning("Refresh of %s failed, %s stays: %r", key, entry.value, error)
        finally:
            entry.refreshing.release()
        return entry.value

    def _load(self, key: K) -> V:
        value = self._load_value(key)
        self._count("loads")
        return value

    def _count(self, what: str) -> None:
        with self._lock:
            self._counts = replace(self._counts, **{what: getattr(self._counts, what) + 1})
