"""A child process that serves HTTP on a port of this machine: started, asked, killed. It reads no answer."""

import contextlib
import http.client
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from local.leash import Leash
from local.log import Log
from local.port import LOOPBACK, Port

PORT_IN_USE = ("address already in use", "Address already in use", "Connection in use")


class StackError(RuntimeError):
    """The cloud in a box cannot start or go on; the message is for the person in front of it."""


class ServerProcess:
    """One server in a process group of its own, so that its workers go when it goes."""

    def __init__(
        self,
        name: str,
        command: Callable[[int], Sequence[str]],
        *,
        health_path: str,
        environment: Mapping[str, str],
        folder: Path,
        log: Log,
        leash: Leash,
    ) -> None:
        self.name = name
        self.log = log
        self._command = command
        self._health_path = health_path
        self._environment = dict(environment)
        self._folder = folder
        self._leash = leash
        self._port = Port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self._port.number}"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start, and return before it answers."""
        with self.log.path.open("ab") as output:
            self._process = subprocess.Popen(
                self._command(self._port.number),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment,
                cwd=self._folder,
                process_group=0,
            )
        self._leash.hold(self._process.pid)

    def wait_until_it_answers(self, timeout_s: float, moves: int = 0) -> None:
        """Any HTTP status will do. `moves`: how often it may change its port, if that was taken meanwhile."""
        deadline = time.monotonic() + timeout_s
        while not self._answers():
            if moves and any(sign in self.log.tail() for sign in PORT_IN_USE):
                moves -= 1
                self._move()
            elif not self.is_alive():
                code = self._process.returncode if self._process else None
                raise StackError(
                    f"{self.name} ended with exit code {code}. Its last lines:\n{self.log.tail()}"
                )
            elif time.monotonic() > deadline:
                raise StackError(
                    f"{self.name} did not answer within {timeout_s:g} s. Its last lines:\n{self.log.tail()}"
                )
            time.sleep(0.01)

    def terminate(self) -> None:
        """Ask it to end. `kill` makes sure."""
        if self._process is not None and self.is_alive():
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()

    def kill(self, grace_s: float = 0.0) -> None:
        """SIGKILL to the whole group, after `grace_s` if it has not ended by then."""
        if self._process is None:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(grace_s)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._leash.let_go(self._process.pid)
        self._process = None

    def release_port(self) -> None:
        self._port.release()

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection(LOOPBACK, self._port.number, timeout=5)
        try:
            connection.request("GET", self._health_path)
            connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            return False
        else:
            return self.is_alive()
        finally:
            connection.close()

    def _move(self) -> None:
        self.kill()
        self.log.path.write_bytes(b"")
        self._port.release()
        self._port = Port()
        self.start()
