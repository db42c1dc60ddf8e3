"""Reserves a free TCP port of 127.0.0.1 for a server process."""

import socket
import sys

LOOPBACK = "127.0.0.1"


class Port:
    """A port that is bound, but not listened on.

    On Linux another process can listen on it, since both sockets set SO_REUSEADDR, but the kernel does not assign
    it to sockets that ask for any free port, even between a crash and a restart of the server. On other systems
    the number is only likely to be free.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((LOOPBACK, 0))
        self.number: int = self._socket.getsockname()[1]
        if sys.platform != "linux":
            self._socket.close()

    def release(self) -> None:
        """End the reservation."""
        self._socket.close()
