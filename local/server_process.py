"""A child process that serves HTTP on a port of this machine: started, asked, killed. It reads no answer."""

import contextlib
import http.client
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

from local.port import LOOPBACK, Port
from local.process_group_reaper import ProcessGroupReaper
from local.process_log import ProcessLog

PORT_IN_USE = ("address already in use", "Address already in use", "Connection in use")


class StackError(RuntimeError):
    """The cloud in a box cannot start or go on; the message is for the person in front of it."""


class ServerProcess:
    """One server with the workers it has, on a reaper."""

    def __init__(
        self,
        name: str,
        command: Callable[[int], Sequence[str]],
        *,
        health_path: str,
        environment: Mapping[str, str],
        folder: Path,
        log: ProcessLog,
        reaper: ProcessGroupReaper,
    ) -> None:
        self.name = name
        self.log = log
        self._command = command
        self._health_path = health_path
        self._environment = dict(environment)
        self._folder = folder
        self._reaper = reaper
        self._port = Port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self._port.number}"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def is_alive(self) -> bool:
        process = self._process
        return process is not None and process.poll() is None

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
                process_group=self._reaper.group,
            )

    def wait_until_ready(self, timeout_s: float, port_retries: int = 0) -> None:
        """Any HTTP status will do. `port_retries`: how many other ports to try if its own is taken."""
        deadline = time.monotonic() + timeout_s
        while not self._answers():
            if port_retries and any(sign in self.log.tail() for sign in PORT_IN_USE):
                port_retries -= 1
                self._move()
            elif not self.is_alive():
                code = self._process.returncode if self._process else None
                raise StackError(f"{self.name} ended with exit code {code}. Its last lines:\n{self.log.tail()}")
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
        """SIGKILL to it and its workers, after `grace_s` if it has not ended by then."""
        if self._process is None:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(grace_s)
        for member in _family(self._process.pid):
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        self._process.wait()
        self._wait_until_nobody_listens()
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

    def _wait_until_nobody_listens(self, timeout_s: float = 2.0) -> None:
        """A worker may outlive its parent for a moment (a second, if that was killed alone), and has the port."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            with socket.socket() as asking:
                if asking.connect_ex((LOOPBACK, self._port.number)) != 0:
                    return
            time.sleep(0.005)

    def _move(self) -> None:
        self.kill()
        self.log.path.write_bytes(b"")
        self._port.release()
        self._port = Port()
        self.start()


def _family(pid: int) -> list[psutil.Process]:
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
