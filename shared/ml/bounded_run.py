"""Runs ONNX Runtime sessions within a time limit and a memory limit.

A watchdog terminates a run that takes too long. All sessions of the process allocate from one arena of limited
size. A run that finds the arena full may be too large, or its concurrent runs may have filled it: it is repeated
while no other run is under way.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import numpy.typing as npt
import onnxruntime as ort

from shared.errors import DeadlineExceeded, InvalidModel
from shared.runtime import deadline
from shared.runtime.machine import available_memory

_ARENA_SHARE: Final = 0.75  # of the memory; the rest is for images and for everything outside ONNX Runtime
_MAX_WAIT_S: Final = 3600.0  # where no event limits it: `threading` takes no infinite timeout
_OUT_OF_MEMORY_MESSAGES: Final = ("requested bytes", "bad_alloc", "Failed to allocate")


class RunTimeout(InvalidModel):
    """A run of the model exceeded the time limit and was terminated."""


class RunOutOfMemory(InvalidModel):
    """A run of the model ran out of memory although no other run was under way."""


def share_arena(max_bytes: int = 0) -> None:
    """Register one memory arena for all sessions that are created from now on.

    With an arena of its own each session would keep the memory of its largest run, 50 MB a model. The limit counts
    the weights too, but does not reject them: once they alone exceed it, it has no effect any more.

    Args:
        max_bytes: The size of the arena; 0 is a share of the available memory.
    """
    cpu = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    limit = max_bytes or int(available_memory() * _ARENA_SHARE)
    ort.create_and_register_allocator(cpu, ort.OrtArenaCfg(limit, -1, -1, -1))  # -1: ONNX Runtime's defaults


def run(
    session: ort.InferenceSession, feeds: Mapping[str, npt.NDArray[Any]], *, max_s: float = math.inf
) -> list[npt.NDArray[Any]]:
    """Run a session and return its outputs in their order.

    ONNX Runtime terminates a run between two operators only, never within one.

    Raises:
        DeadlineExceeded: The event's deadline passed.
        RunTimeout: The run took more than `max_s` seconds.
        RunOutOfMemory: The run needs more memory than there is, even alone.
        Exception: ONNX Runtime's own error, if the run fails for another reason.
    """
    try:
        with _RUN_LOCK.shared():
            return _run_with_timeout(session, feeds, max_s, ort.RunOptions())
    except Exception as error:
        if not is_out_of_memory(error):
            raise
    options = ort.RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    with _RUN_LOCK.exclusive():
        # The first attempt may find the arena fragmented by other runs; as it ends, it shrinks the arena.
        for _ in range(2):
            try:
                return _run_with_timeout(session, feeds, max_s, options)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
    raise RunOutOfMemory("A run of the model needs more memory than is available")


def _run_with_timeout(
    session: ort.InferenceSession, feeds: Mapping[str, npt.NDArray[Any]], max_s: float, options: ort.RunOptions
) -> list[npt.NDArray[Any]]:
    due_at = time.monotonic() + deadline.remaining_s(at_most=max_s)
    try:
        with _WATCHDOG.watch(options, due_at):
            outputs: list[npt.NDArray[Any]] = session.run(None, feeds, options)
    except Exception as error:
        if not options.terminate:
            raise
        deadline.check()  # if the event's deadline has passed, the model is not to blame
        raise RunTimeout(f"A run of the model took more than {max_s:g} s, the limit") from error
    return outputs


def is_out_of_memory(error: Exception) -> bool:
    """Return whether ONNX Runtime says with this error that it could not allocate memory."""
    return any(message in str(error) for message in _OUT_OF_MEMORY_MESSAGES)


class Watchdog:
    """Terminates overdue runs from one thread, which sleeps until the first of them is due."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._watched: dict[object, tuple[float, ort.RunOptions]] = {}
        self._next_check_at = -math.inf  # of `time.monotonic`; the thread is not started
        self._thread: threading.Thread | None = None

    @contextmanager
    def watch(self, options: ort.RunOptions, due_at: float) -> Generator[None]:
        """Set `options.terminate` if the body is not done at `due_at`, a time of `time.monotonic`."""
        if due_at == math.inf:
            yield
            return
        key = object()
        with self._changed:
            if self._thread is None:
                self._thread = threading.Thread(target=self._terminate_overdue, name="watchdog", daemon=True)
                self._thread.start()
            self._watched[key] = due_at, options
            if due_at < self._next_check_at:
                self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                self._watched.pop(key, None)

    def _terminate_overdue(self) -> None:
        with self._changed:
            while True:
                now = time.monotonic()
                for key, (due_at, options) in list(self._watched.items()):
                    if due_at <= now:
                        options.terminate = True
                        del self._watched[key]
                self._next_check_at = min((due_at for due_at, _ in self._watched.values()), default=math.inf)
                self._changed.wait(None if self._next_check_at == math.inf else self._next_check_at - now)


class SharedExclusiveLock:
    """Readers-writer lock with writer preference.

    Many threads may hold it shared, or one exclusively. Once a thread waits for exclusive access, threads that ask
    for shared access wait until it has had it.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._shared_count = 0
        self._exclusive_count = 0  # threads that hold it exclusively or wait to
        self._is_exclusive = False

    @contextmanager
    def shared(self) -> Generator[None]:
        """Hold the lock together with other threads that hold it shared.

        Raises:
            DeadlineExceeded: The event's deadline passed while waiting.
        """
        with self._changed:
            if self._exclusive_count:
                self._wait(lambda: not self._exclusive_count)
            self._shared_count += 1
        try:
            yield
        finally:
            with self._changed:
                self._shared_count -= 1
                if self._exclusive_count and not self._shared_count:
                    self._changed.notify_all()

    @contextmanager
    def exclusive(self) -> Generator[None]:
        """Hold the lock alone.

        Raises:
            DeadlineExceeded: The event's deadline passed while waiting.
        """
        with self._changed:
            self._exclusive_count += 1
            try:
                self._wait(lambda: not self._shared_count and not self._is_exclusive)
            except BaseException:
                self._release_exclusive()
                raise
            self._is_exclusive = True
        try:
            yield
        finally:
            with self._changed:
                self._is_exclusive = False
                self._release_exclusive()

    def _release_exclusive(self) -> None:
        self._exclusive_count -= 1
        self._changed.notify_all()

    def _wait(self, is_free: Callable[[], bool]) -> None:
        if not self._changed.wait_for(is_free, deadline.remaining_s(at_most=_MAX_WAIT_S)):
            raise DeadlineExceeded("The event deadline passed before the model could run")


_WATCHDOG: Final = Watchdog()
_RUN_LOCK: Final = SharedExclusiveLock()
