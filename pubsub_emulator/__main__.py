"""Command line of the emulator: `python -m pubsub_emulator --host-port 127.0.0.1:8085`."""

from __future__ import annotations

import argparse
import signal
import threading

from pubsub_emulator import PubSubServer


def main() -> None:
    """Serve until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(
        prog="python -m pubsub_emulator",
        description="Emulate Google Cloud Pub/Sub on this machine until interrupted. Messages are kept in memory.",
    )
    parser.add_argument(
        "--host-port",
        default="127.0.0.1:8085",
        metavar="HOST:PORT",
        help="address to listen on (default: %(default)s); the host must be 127.0.0.1 or localhost, and port 0 "
        "takes any free port",
    )
    host_port: str = parser.parse_args().host_port
    host, _, port = host_port.rpartition(":")
    if host not in {"127.0.0.1", "localhost", ""} or not port.isdigit():
        parser.error(
            f"--host-port={host_port!r} is invalid: expected 127.0.0.1:PORT "
            "(the emulator has no access control, so it serves this machine only)"
        )
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    with PubSubServer(int(port)) as server:
        print(f"export PUBSUB_EMULATOR_HOST={server.host_port}", flush=True)
        stopped.wait()


if __name__ == "__main__":
    main()
