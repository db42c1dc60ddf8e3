"""The gRPC server of the emulator, which the client libraries find by PUBSUB_EMULATOR_HOST.

Everything is kept in memory, and there is no access control. Snapshots, seek, schemas, exactly-once delivery and
export subscriptions are not served: requests for them fail instead of being ignored.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Self

import grpc

from pubsub_emulator.broker import Broker
from pubsub_emulator.methods import create_handlers
from pubsub_emulator.push import Pusher

_MAX_THREADS = 256  # started as needed: one for each waiting pull, two for each open stream


class PubSubServer:
    """A Pub/Sub server on 127.0.0.1, also as a context manager; it can be started once.

    Args:
        port: TCP port; 0 takes a free one, which `host_port` names after the start.
    """

    def __init__(self, port: int = 0) -> None:
        self._broker = Broker()
        self._pusher = Pusher(self._broker)
        self._threads = ThreadPoolExecutor(_MAX_THREADS, thread_name_prefix="pubsub")
        self._server = grpc.server(
            self._threads,
            handlers=create_handlers(self._broker, self._threads),
            options=[
                ("grpc.max_receive_message_length", -1),  # `validation` has the limit, with a better error
                ("grpc.so_reuseport", 0),  # listening on a port in use is an error
            ],
        )
        self._port = port

    @property
    def host_port(self) -> str:
        """The value for PUBSUB_EMULATOR_HOST."""
        return f"127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start to listen, in threads of its own.

        Raises:
            OSError: the port is in use.
        """
        try:
            self._port = self._server.add_insecure_port(self.host_port)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {self.host_port}: is the port in use?") from error
        self._server.start()
        self._pusher.start()

    def stop(self) -> None:
        """Stop, and join all threads; waiting pulls and open streams end with UNAVAILABLE."""
        self._broker.close()
        self._pusher.stop()
        self._server.stop(grace=None).wait()
        self._threads.shutdown()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
