"""A pool of workers: one request at a time each, within a deadline and a limit of memory."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from shared.errors import DeadlineExceeded
from shared.runtime import deadline
from shared.workers.channel import Channel, ChannelClosed, InvalidMessage, close_all
from shared.workers.fork_server import OUT_OF_MEMORY, ForkServer
from shared.workers.progress import Progress

_POLL_S: Final = 0.05  # between two looks at a busy worker's memory
_MAX_WAIT_S: Final = 3600.0

# Answers a question that a worker asks while it computes. The pool closes the descriptors.
Answer = Callable[[dict[str, Any]], tuple[dict[str, Any], list[int]]]
Cause = Literal["deadline", "overrun", "memory", "crash", "killed", "protocol"]


class WorkerLost(Exception):
    """A worker ended before it replied.

    `cause`: `deadline` of the event; `overrun` of the limit of what it was doing; `memory` for a MemoryError, or
    more than it may have; `crash` for a fatal signal or an exit; `killed` for a SIGKILL or SIGTERM that was not
    this pool's (the kernel ran out of memory), or with the fork server; `protocol` for a malformed reply.
    `activity`: the last one that its progress named.
    """

    def __init__(self, cause: Cause, activity: str, exit_code: int | None = None) -> None:
        super().__init__(f"{cause}, exit code {exit_code}, while: {activity or 'nothing in particular'}")
        self.cause = cause
        self.activity = activity
        self.exit_code = exit_code


@dataclass(eq=False)
class _Worker:
    pid: int
    channel: Channel
    progress: Progress
    keys: set[str] = field(default_factory=set)


class WorkerPool:
    """Workers of one fork server. Safe to use from several threads; each call waits for a free worker."""

    def __init__(self, server: ForkServer, *, size: int, memory_bytes: int) -> None:
        """Keep up to `size` workers, each with at most `memory_bytes` of private memory."""
        self._server = server
        self._size = size
        self._memory_bytes = memory_bytes
        self._changed = threading.Condition()
        self._idle: list[_Worker] = []  # the most recently used last
        self._count = 0  # idle or busy
        self._waiting: deque[object] = deque()  # one ticket a thread, in the order in which they came

    def call(
        self,
        request: Mapping[str, Any],
        descriptors: Sequence[int] = (),
        *,
        key: str = "",
        fresh: bool = False,
        answer: Answer | None = None,
    ) -> tuple[dict[str, Any], list[int]]:
        """Have a worker answer a request; the caller closes the descriptors of the reply.

        While it computes, the worker may ask questions (a header with `ask`), which `answer` answers. An exception
        of `answer` ends the worker and the call.

        A worker that answered a request with the same `key` before is preferred: it has the models of that tenant.
        With `fresh` a new one is forked, if need be in place of an idle one.

        Raises:
            DeadlineExceeded: the event's time was over before a worker was free.
            WorkerLost: the worker ended, or was ended, before it replied.
            OSError: there is no process or no memory for a worker.
            ChannelClosed: the fork server is gone, and another one could not be started.
        """
        worker = self._acquire(key, fresh=fresh)
        try:
            worker.progress.write("")
            worker.channel.send(request, descriptors)
            reply = self._wait(worker)
            while answer and "ask" in reply[0]:
                self._answer(worker, answer, reply)
                reply = self._wait(worker)
        except WorkerLost:
            self._release(None)
            raise
        except (ChannelClosed, InvalidMessage) as error:
            lost = self._end(worker, "protocol" if isinstance(error, InvalidMessage) else "crash")
            self._release(None)
            raise lost from error
        except BaseException:
            self._end(worker, "killed")
            self._release(None)
            raise
        worker.keys.add(key)
        self._release(worker)
        return reply

    def close(self) -> None:
        """End all idle workers."""
        with self._changed:
            idle, self._idle = self._idle, []
            self._count -= len(idle)
        for worker in idle:
            self._end(worker, "killed")

    def _acquire(self, key: str, *, fresh: bool) -> _Worker:
        """Take an idle worker, or fork one if there are fewer than `size`. Threads are served in their order."""
        worker: _Worker | None = None
        ticket = object()
        with self._changed:
            self._waiting.append(ticket)
            try:
                free = self._changed.wait_for(
                    lambda: self._waiting[0] is ticket and (self._idle or self._count < self._size),
                    deadline.remaining_s(at_most=_MAX_WAIT_S),
                )
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()  # the next thread in line may find another worker
            if not free:
                raise DeadlineExceeded("Event deadline exceeded while waiting for a free worker")
            index = next((i for i, each in enumerate(self._idle) if key in each.keys and not fresh), -1)
            if self._idle and (index >= 0 or self._count >= self._size):
                worker = self._idle.pop(0 if fresh else index)
            else:
                self._count += 1
        try:
            if worker and (fresh or _has_ended(worker)):
                self._end(worker, "killed")
                worker = None
            return worker or self._fork()
        except BaseException:
            self._release(None)
            raise

    def _release(self, worker: _Worker | None) -> None:
        """Give a worker back, or its place in the pool if it is lost."""
        with self._changed:
            if worker is None:
                self._count -= 1
            else:
                self._idle.append(worker)
            self._changed.notify_all()

    def _fork(self) -> _Worker:
        ours, theirs = Channel.pair()
        progress = Progress()
        try:
            pid = self._server.fork(theirs, progress, memory_bytes=self._memory_bytes)
        except BaseException:
            ours.close()
            progress.close()
            raise
        finally:
            theirs.close()
        return _Worker(pid, ours, progress)

    def _wait(self, worker: _Worker) -> tuple[dict[str, Any], list[int]]:
        """Wait for the reply, within the event's deadline and the limit of memory."""
        ends_at = time.monotonic() + deadline.remaining_s(at_most=_MAX_WAIT_S)
        while True:
            remaining_s = ends_at - time.monotonic()
            if remaining_s <= 0:
                raise self._end(worker, "deadline")
            if _is_readable(worker.channel, min(remaining_s, _POLL_S)):
                return worker.channel.receive()
            if _private_bytes(worker.pid) > self._memory_bytes:
                raise self._end(worker, "memory")
            if time.monotonic() > worker.progress.read()[1]:
                raise self._end(worker, "overrun")

    @staticmethod
    def _answer(worker: _Worker, answer: Answer, question: tuple[dict[str, Any], list[int]]) -> None:
        close_all(question[1])
        header, descriptors = answer(question[0])
        try:
            worker.channel.send(header, descriptors)
        finally:
            close_all(descriptors)

    def _end(self, worker: _Worker, cause: Cause) -> WorkerLost:
        """Kill a worker if it still runs, and return what became of it."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker.pid, signal.SIGKILL)
        exit_code = None
        with contextlib.suppress(ChannelClosed):
            exit_code = self._server.exit_code(worker.pid)
        if cause == "crash" and exit_code in {None, -signal.SIGKILL, -signal.SIGTERM}:
            cause = "killed"
        elif cause == "crash" and exit_code == OUT_OF_MEMORY:
            cause = "memory"
        lost = WorkerLost(cause, worker.progress.read()[0], exit_code)
        worker.channel.close()
        worker.progress.close()
        return lost


def _has_ended(worker: _Worker) -> bool:
    """Return whether an idle worker has ended: a living one sends nothing unasked."""
    return _is_readable(worker.channel, 0)


def _is_readable(channel: Channel, timeout_s: float) -> bool:
    """Wait until a channel has a message, or is closed. `select` would fail for descriptors above 1023."""
    poll = select.poll()
    poll.register(channel, select.POLLIN)
    return bool(poll.poll(timeout_s * 1000))


def _private_bytes(pid: int) -> int:
    """Return the resident memory of a process, without the files that it has mapped; 0 if it has ended."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:  # noqa: PTH123 - often
            fields = dict(line.split(":", 1) for line in file if line.startswith(("RssAnon", "RssShmem")))
    except OSError:
        return 0
    return sum(int(value.split()[0]) * 1024 for value in fields.values())
