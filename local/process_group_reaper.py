"""Kills the stack's processes and removes its files when the stack's own process ends, even by SIGKILL.

A small child process leads a process group and waits for its standard input to end. The kernel closes that pipe
when the parent dies, however it dies. All processes of the stack are started in this group. Run as a script, this
file is the child process.
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
    """A process group that is killed when this process ends or `close` is called.

    Start processes with `process_group=reaper.group_id`, so that they are in the group from the first moment.
    """

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            process_group=0,  # Ctrl-C in the terminal reaches the stack only, which then stops in order
        )
        self.group_id = self._process.pid

    def remove_on_exit(self, path: Path) -> None:
        """Remove this file or folder when the group is killed."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):  # the child process was killed: the stack goes on without it
                self._process.stdin.write(f"{path.absolute()}\n")
                self._process.stdin.flush()

    def close(self) -> None:
        """Kill the group; after an orderly stop only the child process itself is left in it."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        self._process.wait()


def remove_and_kill_group(lines: Iterable[str]) -> None:
    """Wait for the end of the lines, remove the paths that they name, and kill the group with this process."""
    for path in [Path(line.rstrip("\n")) for line in lines]:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    remove_and_kill_group(sys.stdin)
