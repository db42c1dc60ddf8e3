"""Waiting for what happens elsewhere, and a port for it to happen on."""

import socket
import time


def until(condition, *, within_s=10.0):
    """What the condition gives as soon as it is true; fails when it never is."""
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
    return found


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]
