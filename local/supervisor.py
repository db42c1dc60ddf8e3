"""Watches the processes of the stack: starts a dead function again, reports a dead storage."""

import threading
import time
from collections.abc import Iterable

from local.server_process import ServerProcess, StackError

LOOK_EVERY_S = 0.05
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0
STABLE_AFTER_S = 10.0


class Supervisor:
    """Leaves alone what is meant to be down: `rest` and `wake` say so."""

    def __init__(self, restarted: Iterable[ServerProcess], needed: Iterable[ServerProcess]) -> None:
        self.failure: StackError | None = None
        self.failed = threading.Event()
        self._restarted = {process.name: process for process in restarted}
        self._needed = list(needed)
        self._resting: set[str] = set()
        self._pauses: dict[str, float] = {}
        self._started_at: dict[str, float] = {}
        self._due: dict[str, float] = {}
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def rest(self, name: str) -> None:
        """Kill this one and leave it down."""
        with self._lock:
            self._resting.add(name)
            self._restarted[name].kill()

    def wake(self, name: str) -> None:
        """Start it, unless it is up."""
        with self._lock:
            self._resting.discard(name)
            if not self._restarted[name].is_alive():
                self._start(name)

    def _watch(self) -> None:
        while not self._stopped.wait(LOOK_EVERY_S):
            for process in self._needed:
                if not process.is_alive() and self.failure is None:
                    self.failure = StackError(f"{process.name} died. Its last lines:\n{process.log.tail()}")
                    self.failed.set()
            with self._lock:
                for name, process in self._restarted.items():
                    if not process.is_alive() and name not in self._resting:
                        self._restart_when_due(name)

    def _restart_when_due(self, name: str) -> None:
        """At once-ish the first time, later and later for one that keeps dying."""
        now = time.monotonic()
        if name not in self._due:
            stable = now - self._started_at.get(name, 0.0) > STABLE_AFTER_S
            pause = FIRST_PAUSE_S if stable else self._pauses.get(name, FIRST_PAUSE_S)
            self._pauses[name] = min(2 * pause, LONGEST_PAUSE_S)
            self._due[name] = now + pause
        elif now >= self._due[name]:
            self._start(name)

    def _start(self, name: str) -> None:
        self._due.pop(name, None)
        self._started_at[name] = time.monotonic()
        self._restarted[name].kill()  # workers that outlived their parent still hold the port
        self._restarted[name].start()
