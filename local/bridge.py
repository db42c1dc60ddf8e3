"""HTTP server in Eventarc's place: turns each Pub/Sub push into an event for a function, and returns its status.

It does not retry. Pub/Sub redelivers what a function answers with 503, or does not answer.
"""

import http.client
import logging
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from local.eventarc import CloudEvent, InvalidPushError
from local.port import LOOPBACK

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Route:
    """The function that receives the pushes of one subscription."""

    to_event: Callable[[bytes], CloudEvent | None]  # None: the push is acknowledged without calling the function
    function_url: str


class Bridge:
    """The push endpoints of all subscriptions: `url(path)` is the endpoint of the route of this path."""

    def __init__(self, routes: Mapping[str, Route], *, timeout_s: float) -> None:
        self._server = _Server(dict(routes), timeout_s)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="bridge", daemon=True
        )

    def start(self) -> None:
        """Start serving in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop serving, and close the port, also if it was never started."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def url(self, path: str) -> str:
        """Return the URL of a path of this server."""
        return f"http://{LOOPBACK}:{self._server.server_address[1]}{path}"


def forward(event: CloudEvent, function_url: str, timeout_s: float) -> int:
    """Post an event to a function, and return its status, or 502 if there is no response."""
    trace_id = secrets.token_hex(16)
    span_id = secrets.token_hex(8)
    headers = event.headers | {
        "user-agent": "APIs-Google; (+https://developers.google.com/webmasters/APIs-Google.html)",
        "traceparent": f"00-{trace_id}-{span_id}-01",
        "x-cloud-trace-context": f"{trace_id}/{int(span_id, 16)};o=1",
    }
    address = urlsplit(function_url)
    connection = http.client.HTTPConnection(address.hostname or LOOPBACK, address.port, timeout=timeout_s)
    try:
        connection.request("POST", "/", body=event.body, headers=headers)
        response = connection.getresponse()
        response.read()
    except (OSError, http.client.HTTPException) as error:
        logger.info("no response from %s: %r", function_url, error)
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
        """Log at debug level; the default writes a traceback to stderr, e.g. when Pub/Sub closes a connection."""
        logger.debug("a push from %s failed: %r", client_address, request)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        push = self.rfile.read(int(self.headers.get("content-length", 0)))
        self._respond(*self._status_and_reason(push))

    def _status_and_reason(self, push: bytes) -> tuple[int, str]:
        route = self.server.routes.get(self.path.partition("?")[0])
        if route is None:
            return 404, f"no subscription pushes to {self.path}"
        try:
            event = route.to_event(push)
        except InvalidPushError as error:
            return 400, str(error)
        if event is None:
            return 204, ""
        return forward(event, route.function_url, self.server.timeout_s), ""

    def _respond(self, status: int, reason: str) -> None:
        body = reason.encode()
        self.send_response(status)
        if status != http.client.NO_CONTENT:
            self.send_header("content-length", str(len(body)))
        self.end_headers()
        if status != http.client.NO_CONTENT:
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is http.server's
        logger.debug(format, *args)
