"""A Pub/Sub server for one machine: the stock clients find it by PUBSUB_EMULATOR_HOST. Everything in memory.

It has no access control, and no snapshots, seek, schemas, exactly-once delivery or export subscriptions: what is
not served is refused, not ignored.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Self

import grpc

from pubsub_emulator.broker import Broker
from pubsub_emulator.methods import handlers
from pubsub_emulator.push import Pusher

if TYPE_CHECKING:
    from types import TracebackType

_WORKERS = 256  # threads are started as needed; a waiting pull holds one, an open stream two


class PubSubServer:
    """Listens on 127.0.0.1 from start() to stop(), which leaves no thread behind. One use each.

    Port 0 takes a free one; `host_port` says which.
    """

    def __init__(self, port: int = 0) -> None:
        self._broker = Broker()
        self._pusher = Pusher(self._broker)
        self._workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="pubsub")
        self._server = grpc.server(
            self._workers,
            handlers=handlers(self._broker, self._workers),
            options=[
                ("grpc.max_receive_message_length", -1),  # the limit is ours to name
                ("grpc.so_reuseport", 0),  # a port that is taken is an error
            ],
        )
        self._port = port

    @property
    def host_port(self) -> str:
        return f"127.0.0.1:{self._port}"

    def start(self) -> None:
        """OSError if the port is taken."""
        try:
            self._port = self._server.add_insecure_port(self.host_port)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {self.host_port}") from error
        self._server.start()
        self._pusher.start()

    def stop(self) -> None:
        """Waiting pulls and open streams end with UNAVAILABLE, pushes under way are cut off."""
        self._broker.close()
        self._pusher.stop()
        self._server.stop(grace=None).wait()
        self._workers.shutdown()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
