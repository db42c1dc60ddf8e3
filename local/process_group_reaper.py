"""A reaper on the processes of the stack: when it dies, however it dies, they do. It starts none of them.

The other end is a small process that waits for its standard input to end, which the kernel sees to even after
`kill -9`. Every process of the stack is born into the group it leads. Run as a script, this file is that process.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path


class ProcessGroupReaper:
    """Start processes with `process_group=reaper.group`, and there is no moment at which they could get away."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            process_group=0,  # a Ctrl-C in the terminal is for the stack, which then stops in order
        )
        self.group = self._process.pid

    def remove_on_exit(self, path: Path) -> None:
        """A file or a folder to take away with the processes."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):  # somebody killed the reaper: the stack goes on without
                self._process.stdin.write(f"{path.absolute()}\n")
                self._process.stdin.flush()

    def close(self) -> None:
        """Kill the group. After an end in order there is only the reaper itself in it."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        self._process.wait()


def remove_and_kill_group(paths: Iterable[str]) -> None:
    for path in [Path(line.rstrip("\n")) for line in paths]:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    remove_and_kill_group(sys.stdin)
