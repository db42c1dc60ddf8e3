"""`python -m pubsub_emulator --host-port 127.0.0.1:8085`: serve until SIGINT or SIGTERM."""

from __future__ import annotations

import argparse
import signal
import threading

from pubsub_emulator import PubSubServer


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m pubsub_emulator", description="Pub/Sub on one machine.")
    parser.add_argument(
        "--host-port", default="127.0.0.1:8085", help="the host is 127.0.0.1; port 0 takes a free one"
    )
    host, _, port = parser.parse_args().host_port.rpartition(":")
    if host not in {"127.0.0.1", "localhost", ""} or not port.isdigit():
        parser.error("--host-port is 127.0.0.1:PORT: this server has no access control")
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    with PubSubServer(int(port)) as server:
        print(f"export PUBSUB_EMULATOR_HOST={server.host_port}", flush=True)
        stopped.wait()


if __name__ == "__main__":
    main()
