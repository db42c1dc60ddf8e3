"""The push endpoint where Eventarc would stand: hands a push on to its function, answers with its status.

It retries nothing: whoever answers 503 or is dead is delivered to again by Pub/Sub, by Pub/Sub's own rules.
"""

import http.client
import logging
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from local.eventarc import CloudEvent, InvalidPushError
from local.port import LOOPBACK

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Route:
    """Where a push goes, and as what. `envelope` gives None for a push that is only acknowledged."""

    envelope: Callable[[bytes], CloudEvent | None]
    function_url: str


class Bridge:
    """`routes` by path: a subscription's push endpoint is `bridge.url(path)`."""

    def __init__(self, routes: Mapping[str, Route], *, timeout_s: float) -> None:
        self._server = _Server(dict(routes), timeout_s)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="bridge", daemon=True
        )

    def start(self) -> Self:
        self._thread.start()
        return self

    def stop(self) -> None:
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def url(self, path: str) -> str:
        return f"http://{LOOPBACK}:{self._server.server_address[1]}{path}"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


def forward(envelope: CloudEvent, function_url: str, timeout_s: float) -> int:
    """The function's status; 502 where there is no answer."""
    trace_id = secrets.token_hex(16)
    span_id = secrets.token_hex(8)
    headers = envelope.headers | {
        "user-agent": "APIs-Google; (+https://developers.google.com/webmasters/APIs-Google.html)",
        "traceparent": f"00-{trace_id}-{span_id}-01",
        "x-cloud-trace-context": f"{trace_id}/{int(span_id, 16)};o=1",
    }
    address = urlsplit(function_url)
    connection = http.client.HTTPConnection(address.hostname or LOOPBACK, address.port, timeout=timeout_s)
    try:
        connection.request("POST", "/", body=envelope.body, headers=headers)
        response = connection.getresponse()
        response.read()
    except (OSError, http.client.HTTPException) as error:
        logger.info("no answer from %s: %r", function_url, error)
        return 502
    else:
        return response.status
    finally:
        connection.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, routes: dict[str, Route], timeout_s: float) -> None:
        super().__init__((LOOPBACK, 0), _Handler)
        self.routes = routes
        self.timeout_s = timeout_s

    def handle_error(self, request: object, client_address: object) -> None:
        """The pusher gave up waiting, say: nothing that belongs on a person's terminal."""
        logger.debug("a push from %s failed: %r", client_address, request)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        push = self.rfile.read(int(self.headers.get("content-length", 0)))
        self._answer(*self._status_and_reason(push))

    def _status_and_reason(self, push: bytes) -> tuple[int, str]:
        route = self.server.routes.get(self.path.partition("?")[0])
        if route is None:
            return 404, "no such subscription"
        try:
            envelope = route.envelope(push)
        except InvalidPushError as error:
            return 400, str(error)
        if envelope is None:
            return 204, ""
        return forward(envelope, route.function_url, self.server.timeout_s), ""

    def _answer(self, status: int, reason: str) -> None:
        body = reason.encode()
        self.send_response(status)
        if status != http.client.NO_CONTENT:
            self.send_header("content-length", str(len(body)))
        self.end_headers()
        if status != http.client.NO_CONTENT:
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is http.server's
        logger.debug(format, *args)
