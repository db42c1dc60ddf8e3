"""A storage server that sends scripted responses: the failures that no emulator injects."""

import contextlib
import json
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

CHUNK_BYTES: Final = 10_000
RESET: Final = "reset"  # the connection, in place of a response
SILENCE: Final = "silence"  # no response until the client gives up


@dataclass
class Response:
    """An HTTP response.

    `content_length` is announced in place of the body's length: if it is more, the connection ends in the middle
    of the body. `pause_s` is waited after each chunk of the body.
    """

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=lambda: {"content-type": "application/json"})
    content_length: int | None = None
    pause_s: float = 0.0


Reply = Response | str  # or one of RESET and SILENCE


def object_metadata(
    name: str = "o", *, generation: str = "17", crc32c: str = "AAAAAA==", size: str = "0"
) -> Response:
    """Return a response with an object's resource, as storage describes it."""
    resource = {"name": name, "bucket": "b", "generation": generation, "crc32c": crc32c, "size": size}
    return Response(body=json.dumps(resource).encode())


@contextlib.contextmanager
def serve_responses(*replies: Reply) -> Iterator[tuple[str, list[str]]]:
    """Serve the replies in order, the last one again and again.

    Yields the server's URL and the requests it received, as "METHOD path".
    """
    with _Server(replies) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", server.requests
        finally:
            server.closing.set()
            server.shutdown()
            thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, replies: Sequence[Reply]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.replies = list(replies)
        self.requests: list[str] = []
        self.closing = threading.Event()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore that the client gave up: tests provoke it."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def reply(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        replies = self.server.replies
        reply = replies[min(len(self.server.requests), len(replies) - 1)]
        self.server.requests.append(f"{self.command} {self.path}")
        if isinstance(reply, Response):
            self.send(reply)
        elif reply == SILENCE:
            self.server.closing.wait(10)
        else:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        self.close_connection = True

    do_GET = do_POST = do_PUT = reply  # noqa: N815 - the names are http.server's

    def send(self, response: Response) -> None:
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(response.content_length or len(response.body)))
        self.end_headers()
        if response.status != 304:
            for start in range(0, len(response.body), CHUNK_BYTES):
                self.wfile.write(response.body[start : start + CHUNK_BYTES])
                self.server.closing.wait(response.pause_s)

    def log_message(self, *_: Any) -> None:
        """Log nothing."""
