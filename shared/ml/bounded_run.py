"""Bounds on what a run may take: time, by ending it, and memory, by an arena that all sessions share.

A run that finds the arena full may be at fault or a neighbour's victim: it is tried again with nothing beside it.
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

_ARENA_SHARE: Final = 0.75  # of the memory; the rest is for images, and for what is not ONNX Runtime's
_LONGEST_S: Final = 3600.0
_NO_MEMORY: Final = ("requested bytes", "bad_alloc", "Failed to allocate")


class RunTimeout(InvalidModel):
    """A run of this model was ended."""


class RunOutOfMemory(InvalidModel):
    """A run of this model, with nothing beside it, found no memory."""


def share_arena(max_bytes: int = 0) -> None:
    """One arena for all sessions made from now on, of at most `max_bytes` (0: a share of what there is).

    Each with its own would keep what its largest run took, 50 MB a model. The limit counts weights too, though
    it does not refuse them; once these alone exceed it, it binds no longer.
    """
    cpu = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    limit = max_bytes or int(available_memory() * _ARENA_SHARE)
    ort.create_and_register_allocator(cpu, ort.OrtArenaCfg(limit, -1, -1, -1))  # ONNX Runtime's own steps


def run(
    session: ort.InferenceSession, feeds: Mapping[str, npt.NDArray[Any]], *, max_s: float = math.inf
) -> list[npt.NDArray[Any]]:
    """The session's outputs in their order. ONNX Runtime is asked to stop between two operators, not within one.

    Raises:
        DeadlineExceeded: the event has no more time.
        RunTimeout: it took `max_s` seconds.
        RunOutOfMemory: there is not enough memory for it alone.
        Exception: whatever ONNX Runtime raises for a run that fails.
    """
    try:
        with _GATE.shared():
            return _ended_in_time(session, feeds, max_s, ort.RunOptions())
    except Exception as error:
        if not _is_for_memory(error):
            raise
    options = ort.RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    with _GATE.exclusive():
        for _ in range(2):  # the first gives back, at its end, what others left scattered
            try:
                return _ended_in_time(session, feeds, max_s, options)
            except Exception as error:
                if not _is_for_memory(error):
                    raise
    raise RunOutOfMemory("A run of the model takes more memory than there is")


def _ended_in_time(
    session: ort.InferenceSession, feeds: Mapping[str, npt.NDArray[Any]], max_s: float, options: ort.RunOptions
) -> list[npt.NDArray[Any]]:
    due_at = time.monotonic() + deadline.remaining_s(at_most=max_s)
    try:
        with _WATCHDOG.watching(options, due_at):
            outputs: list[npt.NDArray[Any]] = session.run(None, feeds, options)
    except Exception as error:
        if not options.terminate:
            raise
        deadline.check()  # or it is the event's time that was over, whatever its model had left
        raise RunTimeout(f"A run of the model took more than {max_s:g} s") from error
    return outputs


def _is_for_memory(error: Exception) -> bool:
    return any(words in str(error) for words in _NO_MEMORY)


class Watchdog:
    """One thread for all runs: it sleeps until the first of them is overdue."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._due: dict[object, tuple[float, ort.RunOptions]] = {}
        self._wakes_at = -math.inf  # not started
        self._thread: threading.Thread | None = None

    @contextmanager
    def watching(self, options: ort.RunOptions, due_at: float) -> Generator[None]:
        """Set `options.terminate` if what runs inside is not done by then. Seconds of `time.monotonic`."""
        if due_at == math.inf:
            yield
            return
        key = object()
        with self._changed:
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
                self._thread.start()
            self._due[key] = due_at, options
            if due_at < self._wakes_at:
                self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                self._due.pop(key, None)

    def _watch(self) -> None:
        with self._changed:
            while True:
                now = time.monotonic()
                for key, (due_at, options) in list(self._due.items()):
                    if due_at <= now:
                        options.terminate = True
                        del self._due[key]
                self._wakes_at = min((due_at for due_at, _ in self._due.values()), default=math.inf)
                self._changed.wait(None if self._wakes_at == math.inf else self._wakes_at - now)


class SharedExclusiveLock:
    """Many together, or one alone: he waits for those who are inside, and those who come wait for him."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._wanted = 0
        self._taken = False

    @contextmanager
    def shared(self) -> Generator[None]:
        """Raises: DeadlineExceeded: time was up before it was this one's turn."""
        with self._changed:
            if self._wanted:
                self._wait(lambda: not self._wanted)
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                if self._wanted and not self._inside:
                    self._changed.notify_all()

    @contextmanager
    def exclusive(self) -> Generator[None]:
        """Raises: as `together`."""
        with self._changed:
            self._wanted += 1
            try:
                self._wait(lambda: not self._inside and not self._taken)
            except BaseException:
                self._leave()
                raise
            self._taken = True
        try:
            yield
        finally:
            with self._changed:
                self._taken = False
                self._leave()

    def _leave(self) -> None:
        self._wanted -= 1
        self._changed.notify_all()

    def _wait(self, is_turn: Callable[[], bool]) -> None:
        if not self._changed.wait_for(is_turn, deadline.remaining_s(at_most=_LONGEST_S)):
            raise DeadlineExceeded("The time for this event was over before its model could run")


_WATCHDOG: Final = Watchdog()
_GATE: Final = SharedExclusiveLock()
