"""The record of one event as it happens: what is known of it and how long each stage took. Writes nothing.

One Summary a thread of work, found through a context variable, so that a stage deep in a processor can be
timed without every function in between carrying a stopwatch. Work handed to other threads takes the context
along (`contextvars.copy_context`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any


class EventRecord:
    """Fields and stage timings of one event. Safe to share between the threads that work on it."""

    def __init__(self) -> None:
        self.fields: dict[str, Any] = {}
        self._stages_s: dict[str, float] = {}
        self._started = time.perf_counter()
        self._lock = threading.Lock()

    @property
    def elapsed_s(self) -> float:
        return time.perf_counter() - self._started

    @property
    def timings_ms(self) -> dict[str, float]:
        """Milliseconds a stage, in the order they first ended, then the total so far."""
        with self._lock:
            stages = {name: round(seconds * 1000, 1) for name, seconds in self._stages_s.items()}
        return stages | {"total": round(self.elapsed_s * 1000, 1)}

    def add(self, stage: str, seconds: float) -> None:
        with self._lock:
            self._stages_s[stage] = self._stages_s.get(stage, 0.0) + seconds

    def add_fields(self, **fields: Any) -> None:
        with self._lock:
            self.fields.update(fields)


_current: ContextVar[EventRecord | None] = ContextVar("summary", default=None)


@contextmanager
def event_record() -> Generator[EventRecord]:
    """Open the record of one event; what runs inside adds to it."""
    summary = EventRecord()
    token = _current.set(summary)
    try:
        yield summary
    finally:
        _current.reset(token)


def current_record() -> EventRecord:
    """The open record, or a fresh one that nobody reads (a processor used on its own)."""
    return _current.get() or EventRecord()


@contextmanager
def stage(name: str) -> Generator[None]:
    """Time a stage of the current event; the same name twice adds up."""
    started = time.perf_counter()
    try:
        yield
    finally:
        current_record().add(name, time.perf_counter() - started)
