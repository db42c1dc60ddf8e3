"""The fork server: a process that has imported everything, runs no code of ours in threads, and forks workers.

It is started anew, not by `fork`: the process that answers may have threads, whose locks a fork would
copy. Workers share its imported memory. It ends, and its workers with it, when the process that started it does:
its channel closes. It ignores signals that end a group of processes, so that events under way can be finished.

    python -m shared.workers.fork_server MODULE:FUNCTION, with a channel as standard input
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NoReturn

from shared.workers.channel import Channel, ChannelClosed, close_all
from shared.workers.progress import Progress

# Computes the reply to a request in a worker. It may ask questions on the channel while it does.
Handler = Callable[[dict[str, Any], list[int], Channel, Progress], tuple[dict[str, Any], list[int]]]

OUT_OF_MEMORY: Final = 12  # exit status of a worker; the number of ENOMEM
_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
_ROOT: Final = Path(__file__).parents[2]


class ForkServer:
    """The starting process's view of its fork server. Safe to use from several threads."""

    def __init__(self, handler: str) -> None:
        """Start the server; it imports `handler` (`module:function`, a `Handler`) while this process goes on."""
        self._handler = handler
        self._lock = threading.Lock()
        self._is_closed = False
        self._start()

    def _start(self) -> None:
        self._channel, theirs = Channel.pair()
        command = [sys.executable, "-m", __name__, self._handler]
        path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
        stdin = (os.POSIX_SPAWN_DUP2, theirs.fileno(), 0)
        self._pid = os.posix_spawn(
            sys.executable, command, {**os.environ, "PYTHONPATH": path}, file_actions=[stdin]
        )
        theirs.close()

    def fork(self, theirs: Channel, progress: Progress, *, memory_bytes: int) -> int:
        """Fork a worker that serves one side of a channel, and return its process id.

        A fork server that has ended is started anew; its workers have ended with it.

        Raises:
            ChannelClosed: the fork server is gone, and so is the one that was started in its place.
            OSError: there is no process or no memory for another one.
        """
        with self._lock:
            try:
                reply = self._fork(theirs, progress, memory_bytes)
            except ChannelClosed:
                if self._is_closed:
                    raise
                self._end()
                self._start()
                reply = self._fork(theirs, progress, memory_bytes)
        if "pid" not in reply:
            raise OSError(reply["errno"], "no worker could be forked")
        return int(reply["pid"])

    def _fork(self, theirs: Channel, progress: Progress, memory_bytes: int) -> dict[str, Any]:
        self._channel.send({"memory_bytes": memory_bytes}, [theirs.fileno(), progress.descriptor])
        return self._channel.receive()[0]

    def exit_code(self, pid: int) -> int | None:
        """Wait for a worker to end and return how it did: an exit status, or a signal's number, negative.

        It is None for a worker of a fork server that ended before.

        Raises:
            ChannelClosed: the fork server is gone.
        """
        with self._lock:
            self._channel.send({"wait": pid})
            reply, _ = self._channel.receive()
        return None if reply["exit_code"] is None else int(reply["exit_code"])

    def close(self) -> None:
        """End the fork server and all of its workers."""
        self._is_closed = True
        self._end()

    def _end(self) -> None:
        self._channel.close()
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)


def main(handler: str) -> NoReturn:
    """Serve forks until the starting process closes its side."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    module, _, function = handler.partition(":")
    compute: Handler = getattr(importlib.import_module(module), function)
    gc.collect()
    gc.freeze()
    channel = Channel.from_descriptor(0)
    while True:
        try:
            request, descriptors = channel.receive()
        except ChannelClosed:
            sys.exit()
        if "wait" in request:
            exit_code = None
            with contextlib.suppress(ChildProcessError):
                exit_code = os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1])
            channel.send({"exit_code": exit_code})
            continue
        try:
            pid = os.fork()
        except OSError as error:
            channel.send({"errno": error.errno})
        else:
            if not pid:
                channel.close()
                _serve(compute, *descriptors, memory_bytes=request["memory_bytes"])
            channel.send({"pid": pid})
        close_all(descriptors)


def _serve(compute: Handler, descriptor: int, progress_descriptor: int, *, memory_bytes: int) -> NoReturn:
    """Be a worker: answer one request after the other until the other side closes."""
    status = 1
    try:
        _end_with_parent()
        resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        channel, progress = Channel.from_descriptor(descriptor), Progress(progress_descriptor)
        while True:
            try:
                request, descriptors = channel.receive()
            except ChannelClosed:
                status = 0
                break
            reply, replied = compute(request, descriptors, channel, progress)
            channel.send(reply, replied)
            close_all(replied)
    except MemoryError:
        status = OUT_OF_MEMORY
    finally:
        os._exit(status)


def _end_with_parent() -> None:
    """Be killed when the fork server ends, however it does.

    Not for the fork server itself: the signal comes when the thread that started it ends, not the process.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1])
