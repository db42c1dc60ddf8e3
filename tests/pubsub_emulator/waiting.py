"""Waits for conditions, and finds free ports."""

import socket
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(condition: Callable[[], T], *, within_s: float = 10.0) -> T:
    """Return the condition's value as soon as it is true; fail if that takes too long."""
    deadline = time.monotonic() + within_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"the condition is still {value!r} after {within_s:g} s"
        time.sleep(0.01)
    return value


def free_port() -> int:
    """Return a port of 127.0.0.1 that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
