"""How long the event at hand may still take: asked by every call that waits for somebody. Knows no event.

Found through a context variable, like the summary; work handed to other threads takes the context along.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from shared.errors import DeadlineExceeded

_ENDS: Final[ContextVar[float]] = ContextVar("ends", default=math.inf)
_WHOLE_S: Final[ContextVar[float]] = ContextVar("whole_s", default=math.inf)


@contextmanager
def fail_after(seconds: float) -> Generator[None]:
    """What runs inside has so many seconds, or what is left to it of an outer one if that is less."""
    ends = _ENDS.set(min(_ENDS.get(), time.monotonic() + seconds))
    whole = _WHOLE_S.set(min(_WHOLE_S.get(), seconds))
    try:
        yield
    finally:
        _ENDS.reset(ends)
        _WHOLE_S.reset(whole)


def total_s() -> float:
    """Seconds that there were in the beginning."""
    return _WHOLE_S.get()


def remaining_s(*, at_most: float = math.inf) -> float:
    """Seconds that are left, or `at_most`; without a deadline there is always time.

    Raises:
        DeadlineExceeded: none are left.
    """
    left = _ENDS.get() - time.monotonic()
    if left <= 0:
        raise DeadlineExceeded("The time for this event is over")
    return min(left, at_most)


def check() -> None:
    """Raises: as `remaining_s`; for the moments between two pieces of work."""
    remaining_s()
