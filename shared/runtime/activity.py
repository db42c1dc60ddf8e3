"""Announces work that a stranger's file could prolong or make greedy, to whatever can end this process.

A worker process listens and shares the announcements with its parent, which kills it when it overruns. Elsewhere
no one listens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from contextlib import contextmanager

Listener = Callable[[str, float], Callable[[], None]]

_listener: Listener | None = None


def listen(listener: Listener) -> None:
    """Have `listener` called with the name and limit of each activity; it returns what to call at its end."""
    global _listener  # noqa: PLW0603 - one listener a process
    _listener = listener


@contextmanager
def activity(name: str, *, limit_s: float = math.inf) -> Generator[None]:
    """Announce what the code inside does, such as `decode` or `model detect`, and how long it may take.

    If it raises, the announcement stays: it tells what the process was doing when it failed.
    """
    end = _listener(name, limit_s) if _listener else None
    yield
    if end:
        end()
