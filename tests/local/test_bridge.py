"""The bridge in front of a small function: what it hands on, and whose status it gives back."""

import http.client
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import urlsplit

import pytest

from local.bridge import Bridge, Route
from local.eventarc import CloudEvent, InvalidPushError
from local.port import Port


class Function(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.requests.append((dict(self.headers), body))
        if body == b"die":
            self.close_connection = True
            return
        self.send_response(int(body))
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def function():
    with HTTPServer(("127.0.0.1", 0), Function) as server:
        server.requests = []
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def envelope(push):
    if push == b"ignored":
        return None
    if push == b"broken":
        raise InvalidPushError("broken")
    return CloudEvent({"ce-id": "1", "content-type": "application/json"}, push)


def post(url, body):
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=5)
    try:
        connection.request("POST", address.path, body=body)
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


@pytest.fixture
def bridge(function):
    url = f"http://127.0.0.1:{function.server_address[1]}"
    nobody = Port()
    routes = {"/here": Route(envelope, url), "/dead": Route(envelope, f"http://127.0.0.1:{nobody.number}")}
    bridge = Bridge(routes, timeout_s=5)
    bridge.start()
    yield bridge
    bridge.stop()
    nobody.release()


@pytest.mark.parametrize("status", [200, 204, 400, 404, 429, 500, 503])
def test_bridge_returns_the_status_of_the_function(bridge, status):
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
def test_bridge_answers_itself_without_a_function_response(bridge, path, push, status):
    assert post(bridge.url(path), push) == status


def test_event_reaches_function_with_headers_and_trace(bridge, function):
    assert post(bridge.url("/here") + "?x=y", b"200") == 200
    headers, body = function.requests[0]
    names = {name.lower(): value for name, value in headers.items()}
    assert (names["ce-id"], names["content-type"], body) == ("1", "application/json", b"200")
    trace_id = names["traceparent"].split("-")[1]
    assert names["x-cloud-trace-context"].startswith(f"{trace_id}/")
