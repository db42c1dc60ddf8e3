"""A leash on the processes of the stack: when it dies, however it dies, they do. It starts none itself.

The other end of the leash is a small process that waits for its standard input to end, which the kernel sees
to even after `kill -9`. Run as a script, this file is that process.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path


class Leash:
    """Holds process groups by their id, and folders or files to take away with them."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            process_group=0,  # a Ctrl-C in the terminal is for the stack, which then stops in order
        )

    def hold(self, group: int) -> None:
        self._say(f"hold {group}")

    def let_go(self, group: int) -> None:
        """The group is gone: its number may soon be another's."""
        self._say(f"let_go {group}")

    def remove_at_end(self, path: Path) -> None:
        self._say(f"remove {path.absolute()}")

    def close(self) -> None:
        """Kill what is still held. Only after an unclean end is there anything left to do."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        self._process.wait()

    def _say(self, line: str) -> None:
        if self._process.stdin is None or self._process.stdin.closed:
            return
        with contextlib.suppress(OSError):  # somebody killed the leash: the stack goes on without
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()


def wait_and_kill(lines: Iterable[str]) -> None:
    groups: set[int] = set()
    paths: list[Path] = []
    for line in lines:
        verb, _, value = line.rstrip("\n").partition(" ")
        if verb == "hold":
            groups.add(int(value))
        elif verb == "let_go":
            groups.discard(int(value))
        elif verb == "remove":
            paths.append(Path(value))
    for group in groups:
        with contextlib.suppress(OSError):
            os.killpg(group, signal.SIGKILL)
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    wait_and_kill(sys.stdin)
