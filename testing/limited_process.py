"""Runs Python code in a child process with a limit of memory and of time: what could run away, cannot."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
_LIMIT: Final = "import resource\nresource.setrlimit(resource.RLIMIT_DATA, ({0}, {0}))\n"


def run_limited(code: str, *, max_bytes: int, timeout_s: float = 60) -> str:
    """Run code from the project's root with at most `max_bytes` of data, and return its standard output.

    Raises:
        AssertionError: The code raised an error, MemoryError for example; the message has its last lines.
        subprocess.TimeoutExpired: The code ran longer than `timeout_s`.
    """
    process = subprocess.run(  # noqa: S603 - the code is a test's own
        [sys.executable, "-c", _LIMIT.format(max_bytes) + code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
    )
    assert process.returncode == 0, process.stderr[-2000:]
    return process.stdout.strip()
