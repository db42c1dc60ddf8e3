"""Records one event as it is processed: the fields known of it, and the time of each stage. Writes nothing.

The record is in a context variable, so that code at any depth can time a stage without passing a timer through
every function. Work in other threads needs a copy of the context (`contextvars.copy_context`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final


class EventRecord:
    """Fields and stage timings of one event. Safe to share between threads."""

    def __init__(self) -> None:
        """Start the time of the event."""
        self.fields: dict[str, Any] = {}
        self._stages_s: dict[str, float] = {}
        self._started = time.perf_counter()
        self._lock = threading.Lock()

    @property
    def timings_ms(self) -> dict[str, float]:
        """Milliseconds of each stage, in the order in which they first ended, then the total so far."""
        stages = {name: round(seconds * 1000, 1) for name, seconds in self.stages_s.items()}
        return stages | {"total": round((time.perf_counter() - self._started) * 1000, 1)}

    @property
    def stages_s(self) -> dict[str, float]:
        """Seconds of each stage, in the order in which they first ended."""
        with self._lock:
            return dict(self._stages_s)

    def add(self, stage: str, seconds: float) -> None:
        """Add seconds to the time of a stage."""
        with self._lock:
            self._stages_s[stage] = self._stages_s.get(stage, 0.0) + seconds

    def add_fields(self, **fields: Any) -> None:
        """Set fields of the event's summary line and error messages."""
        with self._lock:
            self.fields.update(fields)


_CURRENT: Final[ContextVar[EventRecord | None]] = ContextVar("event_record", default=None)


@contextmanager
def event_record() -> Generator[EventRecord]:
    """Open the record of one event, which is the current record of the code inside."""
    record = EventRecord()
    token = _CURRENT.set(record)
    try:
        yield record
    finally:
        _CURRENT.reset(token)


def current_record() -> EventRecord:
    """Return the current record, or a new one that is discarded if there is none (a processor used on its own)."""
    return _CURRENT.get() or EventRecord()


@contextmanager
def stage(name: str) -> Generator[None]:
    """Time a stage of the current event. Times of the same name are summed."""
    started = time.perf_counter()
    try:
        yield
    finally:
        current_record().add(name, time.perf_counter() - started)
