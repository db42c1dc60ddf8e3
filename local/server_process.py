"""Child processes that serve HTTP on a port of this machine: start, readiness check, stop."""

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

STOP_GRACE_S = 1.0
PORT_IN_USE_MESSAGES = ("address already in use", "Address already in use", "Connection in use")


class StackError(RuntimeError):
    """The local stack cannot start or continue; the message is for the person who runs it."""


class ServerProcess:
    """A server process with its worker processes, in the process group of a reaper.

    Args:
        name: name for messages.
        command: returns the command line for a port.
        health_path: path that answers once the server is ready.
        environment: all environment variables of the process.
        folder: working directory.
        log: receives stdout and stderr.
        reaper: kills the process if the stack's own process dies.
    """

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
        """The server's URL, without a path."""
        return f"http://{LOOPBACK}:{self._port.number}"

    @property
    def pid(self) -> int | None:
        """The process id, or None if the process was not started."""
        return self._process.pid if self._process else None

    def is_alive(self) -> bool:
        """Return whether the process was started and has not ended."""
        process = self._process
        return process is not None and process.poll() is None

    def start(self) -> None:
        """Start the process, without waiting until it is ready."""
        with self.log.path.open("ab") as output:
            self._process = subprocess.Popen(
                self._command(self._port.number),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment,
                cwd=self._folder,
                process_group=self._reaper.group_id,
            )

    def wait_until_ready(self, timeout_s: float, port_retries: int = 0) -> None:
        """Wait until the server answers `health_path` with any HTTP status.

        Args:
            timeout_s: how long to wait.
            port_retries: how many other ports to try if another process has taken the port.

        Raises:
            StackError: the process ended, or is not ready in time.
        """
        deadline = time.monotonic() + timeout_s
        while not self._is_ready():
            if port_retries and any(message in self.log.tail() for message in PORT_IN_USE_MESSAGES):
                port_retries -= 1
                self._restart_on_another_port()
            elif not self.is_alive():
                code = self._process.returncode if self._process else None
                raise StackError(
                    f"{self.name} ended with exit code {code}. The last lines of its log:\n{self.log.tail()}"
                )
            elif time.monotonic() > deadline:
                raise StackError(
                    f"{self.name} did not answer within {timeout_s:g} s. "
                    f"The last lines of its log:\n{self.log.tail()}"
                )
            time.sleep(0.01)

    def terminate(self) -> None:
        """Send SIGTERM; call `kill` afterwards."""
        if self._process is not None and self.is_alive():
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()

    def kill(self, grace_s: float = 0.0) -> None:
        """Wait up to `grace_s` for the process to end, then send SIGKILL to it and its workers."""
        if self._process is None:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(grace_s)
        for process in _process_tree(self._process.pid):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()
        self._wait_until_port_is_closed()
        self._process = None

    def release_port(self) -> None:
        """End the reservation of the port."""
        self._port.release()

    def _is_ready(self) -> bool:
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

    def _wait_until_port_is_closed(self, timeout_s: float = 2.0) -> None:
        """Wait for workers, which may outlive a parent that was killed alone by a second and hold the port."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex((LOOPBACK, self._port.number)) != 0:
                    return
            time.sleep(0.005)

    def _restart_on_another_port(self) -> None:
        self.kill()
        self.log.path.write_bytes(b"")
        self._port.release()
        self._port = Port()
        self.start()


def stop_processes(processes: Sequence[ServerProcess]) -> None:
    """Send SIGTERM to all, and SIGKILL to those that have not ended after STOP_GRACE_S."""
    deadline = time.monotonic() + STOP_GRACE_S
    for process in processes:
        process.terminate()
    for process in processes:
        process.kill(grace_s=max(0.0, deadline - time.monotonic()))
        process.release_port()


def _process_tree(pid: int) -> list[psutil.Process]:
    """Return a process and its descendants; an empty list if it does not exist."""
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
