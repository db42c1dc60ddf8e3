"""Messages between two processes: a small JSON header and file descriptors, over a Unix socket of packets.

What is large travels in memory files (memfd_create), whose descriptors are passed along: neither side copies it
through the socket, and the receiver decides how much of it to read.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from array import array
from collections.abc import Mapping, Sequence
from typing import Any, Final

MAX_HEADER_BYTES: Final = 64 * 2**10
MAX_DESCRIPTORS: Final = 8


class ChannelClosed(Exception):
    """The other process has ended, or closed its side."""


class InvalidMessage(Exception):
    """The other process sent something that is no message."""


class Channel:
    """One side of a connection between two processes. Used by one thread at a time."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    @classmethod
    def pair(cls) -> tuple[Channel, Channel]:
        """Return two connected sides."""
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(one), cls(other)

    @classmethod
    def from_descriptor(cls, descriptor: int) -> Channel:
        """Take over the socket of a descriptor that was inherited or received."""
        return cls(socket.socket(fileno=descriptor))

    def fileno(self) -> int:
        """Return the socket's descriptor, for `poll` and for passing it on."""
        return self._connection.fileno()

    def close(self) -> None:
        """Close this side; the other side sees ChannelClosed."""
        self._connection.close()

    def send(self, header: Mapping[str, Any], descriptors: Sequence[int] = ()) -> None:
        """Send a message; the caller keeps its own descriptors and closes them.

        Raises:
            ChannelClosed: the other process is gone.
            InvalidMessage: the header is larger than MAX_HEADER_BYTES, there are too many descriptors, or the
                other process does not read what it was sent before. It is not waited for.
        """
        data = json.dumps(header, separators=(",", ":")).encode()
        if len(data) > MAX_HEADER_BYTES or len(descriptors) > MAX_DESCRIPTORS:
            raise InvalidMessage(f"a header of {len(data)} bytes with {len(descriptors)} descriptors")
        try:
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", descriptors))
            # Not `send_fds`, which ignores its flags before Python 3.13.
            self._connection.sendmsg([data], [rights], socket.MSG_DONTWAIT)
        except BlockingIOError as error:
            raise InvalidMessage("The other process does not read its messages") from error
        except OSError as error:
            raise ChannelClosed from error

    def receive(self) -> tuple[dict[str, Any], list[int]]:
        """Wait for a message; the caller closes the descriptors that came with it.

        Raises:
            ChannelClosed: the other process is gone.
            InvalidMessage: what came is no JSON object, or was cut off.
        """
        try:
            data, descriptors, flags, _ = socket.recv_fds(self._connection, MAX_HEADER_BYTES, MAX_DESCRIPTORS)
        except ConnectionError as error:
            raise ChannelClosed from error
        header = None
        if data and not flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            with contextlib.suppress(ValueError, RecursionError):
                header = json.loads(data)
        if isinstance(header, dict):
            return header, descriptors
        close_all(descriptors)
        raise InvalidMessage("The message is not a JSON object") if data else ChannelClosed


def close_all(descriptors: Sequence[int]) -> None:
    """Close descriptors that came with a message."""
    for descriptor in descriptors:
        os.close(descriptor)


def memory_file(*parts: bytes | memoryview) -> int:
    """Return the descriptor of a new memory file with the parts in their order; the caller closes it."""
    descriptor = os.memfd_create("tenant-vision", os.MFD_CLOEXEC)
    try:
        for part in parts:
            rest = memoryview(part)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def read_memory_file(descriptor: int, *, max_bytes: int | None = None) -> bytes:
    """Return what a memory file holds.

    It is read, never mapped: the process that made it could shrink it, and a mapping would then fault.

    Raises:
        InvalidMessage: it holds more than `max_bytes`.
    """
    size = os.fstat(descriptor).st_size
    if max_bytes is not None and size > max_bytes:
        raise InvalidMessage(f"a memory file of {size} bytes; the limit is {max_bytes}")
    data = os.pread(descriptor, size, 0)
    while len(data) < size and (rest := os.pread(descriptor, size - len(data), len(data))):
        data += rest  # Linux reads at most 2 GiB at once
    return data
