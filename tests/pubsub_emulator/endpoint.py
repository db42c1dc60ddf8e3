"""An HTTP server that receives pushes, and records them."""

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self


@dataclass
class PostedRequest:
    path: str
    headers: dict[str, str]  # names in lower case
    body: bytes


class Endpoint:
    """A push endpoint on 127.0.0.1, as a context manager.

    Args:
        statuses: returns the statuses of the first responses to a path; later ones are 200.
        port: TCP port; 0 takes a free one.
    """

    def __init__(self, statuses: Callable[[str], Iterable[int]] = lambda _: [], *, port: int = 0) -> None:
        self.requests: list[PostedRequest] = []
        self.release = threading.Event()  # clear it to withhold the responses
        self.release.set()
        pending_statuses: dict[str, Iterator[int]] = {}
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                endpoint.requests.append(PostedRequest(self.path, headers, body))
                status = next(
                    pending_statuses.setdefault(
                        self.path, itertools.chain(statuses(self.path), itertools.repeat(200))
                    )
                )
                endpoint.release.wait(30)
                with contextlib.suppress(OSError):  # the client may have closed the connection
                    self.send_response_only(status)
                    self.send_header("Content-Length", "0")
                    self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 64
            daemon_threads = False  # joined by server_close()

        self._server = Server(("127.0.0.1", port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def count(self, path: str) -> int:
        """Return the number of requests to a path."""
        return sum(request.path == path for request in self.requests)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
