"""A free port of 127.0.0.1, kept from others where the system allows. It serves nothing."""

import socket
import sys

LOOPBACK = "127.0.0.1"


class Port:
    """A port bound but not listened on.

    On Linux the process that is told to listen there can (both set SO_REUSEADDR), while nobody who asks for
    any free port is given this one, not even between a crash and the restart. Elsewhere the number is only
    likely to be free.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((LOOPBACK, 0))
        self.number: int = self._socket.getsockname()[1]
        if sys.platform != "linux":
            self._socket.close()

    def release(self) -> None:
        self._socket.close()
