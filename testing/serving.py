"""Types of the fixtures in tests/conftest.py that serve main.py in the test process and read what it logs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flask.testing import FlaskClient

Line = dict[str, Any]


@dataclass(frozen=True)
class LogLines:
    """Log lines, and those of them that are the summary line of an event."""

    all: list[Line]
    summaries: list[Line]


# An entry point's name and its settings -> a client of a new instance.
ServeFunction = Callable[[str, Mapping[str, str]], FlaskClient]
# The log lines that were written since the last call.
ReadLogLines = Callable[[], LogLines]
