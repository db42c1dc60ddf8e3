"""Supervisor of the stack's processes: restarts functions that die, and reports other processes that die."""

import threading
import time
from collections.abc import Iterable

from local.server_process import ServerProcess, StackError

POLL_INTERVAL_S = 0.05
MIN_RESTART_DELAY_S = 0.2
MAX_RESTART_DELAY_S = 5.0
MIN_STABLE_UPTIME_S = 10.0


class Supervisor:
    """Watches processes in a thread, and restarts those that may be restarted, with exponential backoff.

    A suspended process is not restarted.

    Args:
        restarted: processes to restart when they die.
        required: processes whose death is reported by `failure` and `failed`.
    """

    def __init__(self, restarted: Iterable[ServerProcess], required: Iterable[ServerProcess]) -> None:
        self.failure: StackError | None = None
        self.failed = threading.Event()
        self._restarted = {process.name: process for process in restarted}
        self._required = list(required)
        self._suspended: set[str] = set()
        self._restart_delays: dict[str, float] = {}
        self._started_at: dict[str, float] = {}
        self._restart_at: dict[str, float] = {}
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)

    def start(self) -> None:
        """Start watching."""
        self._thread.start()

    def stop(self) -> None:
        """Stop watching, and join the thread."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def suspend(self, name: str) -> None:
        """Kill a process, and do not restart it until `resume`."""
        with self._lock:
            self._suspended.add(name)
            self._restarted[name].kill()

    def resume(self, name: str) -> None:
        """Start a suspended process; does nothing if it is running."""
        with self._lock:
            self._suspended.discard(name)
            if not self._restarted[name].is_alive():
                self._start(name)

    def _watch(self) -> None:
        while not self._stopped.wait(POLL_INTERVAL_S):
            for process in self._required:
                if not process.is_alive() and self.failure is None:
                    self.failure = StackError(
                        f"{process.name} died. The last lines of its log:\n{process.log.tail()}"
                    )
                    self.failed.set()
            with self._lock:
                for name, process in self._restarted.items():
                    if not process.is_alive() and name not in self._suspended:
                        self._restart_when_due(name)

    def _restart_when_due(self, name: str) -> None:
        """Schedule a restart of a dead process, or restart it if its time has come.

        The delay doubles each time, and is reset once a process was up for MIN_STABLE_UPTIME_S.
        """
        now = time.monotonic()
        if name not in self._restart_at:
            was_stable = now - self._started_at.get(name, 0.0) > MIN_STABLE_UPTIME_S
            delay_s = MIN_RESTART_DELAY_S if was_stable else self._restart_delays.get(name, MIN_RESTART_DELAY_S)
            self._restart_delays[name] = min(2 * delay_s, MAX_RESTART_DELAY_S)
            self._restart_at[name] = now + delay_s
        elif now >= self._restart_at[name]:
            self._start(name)

    def _start(self, name: str) -> None:
        self._restart_at.pop(name, None)
        self._started_at[name] = time.monotonic()
        self._restarted[name].kill()  # workers that outlived their parent may hold the port
        self._restarted[name].start()
