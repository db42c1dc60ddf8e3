"""Keeps the deadline of the current event, which every call that waits consults.

The deadline is in a context variable. Work in other threads needs a copy of the context
(`contextvars.copy_context`).
The names are those of trio: https://trio.readthedocs.io/en/stable/reference-core.html#cancellation-and-timeouts
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from shared.errors import DeadlineExceeded

_DEADLINE: Final[ContextVar[float]] = ContextVar("deadline", default=math.inf)  # in the time of time.monotonic()
_TOTAL_S: Final[ContextVar[float]] = ContextVar("total_s", default=math.inf)


@contextmanager
def fail_after(seconds: float) -> Generator[None]:
    """Set the deadline of the code inside to `seconds` from now. An earlier outer deadline stays in force."""
    deadline = _DEADLINE.set(min(_DEADLINE.get(), time.monotonic() + seconds))
    total = _TOTAL_S.set(min(_TOTAL_S.get(), seconds))
    try:
        yield
    finally:
        _DEADLINE.reset(deadline)
        _TOTAL_S.reset(total)


def total_s() -> float:
    """Return the seconds that the event had at its start, or infinity without a deadline."""
    return _TOTAL_S.get()


def remaining_s(*, at_most: float = math.inf) -> float:
    """Return the seconds until the deadline (infinity without one), but no more than `at_most`.

    Raises:
        DeadlineExceeded: the deadline has passed.
    """
    remaining = _DEADLINE.get() - time.monotonic()
    if remaining <= 0:
        raise DeadlineExceeded("event deadline exceeded")
    return min(remaining, at_most)


def check() -> None:
    """Check that the deadline has not passed.

    Raises:
        DeadlineExceeded: it has.
    """
    remaining_s()
