"""The bridge in front of a small function: the events it forwards, and the statuses it returns."""

import http.client
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import urlsplit

import pytest

from local.bridge import Bridge, Route
from local.eventarc import CloudEvent, InvalidPushError
from local.port import Port


class FunctionServer(HTTPServer):
    """A function that answers with the status in the body, and records its requests."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), FunctionHandler)
        self.requests: list[tuple[dict[str, str], bytes]] = []


class FunctionHandler(BaseHTTPRequestHandler):
    server: FunctionServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.requests.append((dict(self.headers), body))
        if body == b"die":
            self.close_connection = True
            return
        self.send_response(int(body))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def function() -> Iterator[FunctionServer]:
    with FunctionServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def to_event(push: bytes) -> CloudEvent | None:
    if push == b"ignored":
        return None
    if push == b"broken":
        raise InvalidPushError("broken")
    return CloudEvent({"ce-id": "1", "content-type": "application/json"}, push)


def post(url: str, body: bytes) -> int:
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=5)
    try:
        connection.request("POST", address.path, body=body)
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


@pytest.fixture
def bridge(function: FunctionServer) -> Iterator[Bridge]:
    url = f"http://127.0.0.1:{function.server_address[1]}"
    unused_port = Port()
    routes = {"/here": Route(to_event, url), "/dead": Route(to_event, f"http://127.0.0.1:{unused_port.number}")}
    bridge = Bridge(routes, timeout_s=5)
    bridge.start()
    yield bridge
    bridge.stop()
    unused_port.release()


@pytest.mark.parametrize("status", [200, 204, 400, 404, 429, 500, 503])
def test_bridge_returns_the_status_of_the_function(bridge: Bridge, status: int) -> None:
    assert post(bridge.url("/here"), str(status).encode()) == status


@pytest.mark.parametrize(
    ("path", "push", "status"),
    [
        ("/dead", b"200", 502),
        ("/here", b"die", 502),
        ("/here", b"ignored", 204),
        ("/here", b"broken", 400),
        ("/nowhere", b"200", 404),
    ],
)
def test_bridge_answers_itself_without_a_function_response(
    bridge: Bridge, path: str, push: bytes, status: int
) -> None:
    assert post(bridge.url(path), push) == status


def test_event_reaches_function_with_headers_and_trace(bridge: Bridge, function: FunctionServer) -> None:
    assert post(bridge.url("/here") + "?x=y", b"200") == 200
    headers, body = function.requests[0]
    names = {name.lower(): value for name, value in headers.items()}
    assert (names["ce-id"], names["content-type"], body) == ("1", "application/json", b"200")
    trace_id = names["traceparent"].split("-")[1]
    assert names["x-cloud-trace-context"].startswith(f"{trace_id}/")
