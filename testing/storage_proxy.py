"""A proxy in front of a storage server that makes calls fail, and forwards all others.

Kinds of faults: a status ("503"), "reset" (of the connection), "stall" (no response until the client has given up
or is killed), "truncated" (half of the body), "corrupted" (one bit of the body), "slow" (the first byte is
late) and "page" (200, but not from storage). With `Fault.after` the call happens first.
"""

import http.client
import json
import re
import select
import socket
import struct
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Self
from urllib.parse import parse_qs, unquote, urlsplit

from testing.fault_plan import Fault, FaultSource

SLOW_S: Final = 0.3
MAX_STALL_S: Final = 120
_FAULTS_OF_RESPONSES: Final = {"truncated", "corrupted", "slow"}
_OBJECT: Final = re.compile(r"(?:/download)?/storage/v1/b/[^/]+/o/([^/]+)")
_UPLOAD: Final = re.compile(r"(?:/resumable)?/upload/.*")
_HOP_BY_HOP: Final = {"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"}

Response = tuple[int, dict[str, str], bytes]  # status, headers, body


class StorageProxy:
    """A context manager that listens while it is open; `forward_to(url)` names the storage behind it."""

    def __init__(self, faults: FaultSource) -> None:
        self._server = _Server(faults)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def forward_to(self, storage_url: str) -> str:
        """Forward calls to a storage; return the proxy's own URL."""
        self._server.storage = urlsplit(storage_url).netloc
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def parse_call(method: str, target: str, body: bytes, uploads: Mapping[str, str]) -> tuple[str, str]:
    """Return the operation and the tenant of a call: ("read model", "tenant-001").

    `uploads` has the object names of resumable uploads by their id.
    """
    url = urlsplit(target)
    query = parse_qs(url.query)
    if _UPLOAD.fullmatch(url.path):
        upload_id = query.get("upload_id", [""])[0]
        name = uploads.get(upload_id) or _name_in(body)
        verb = "begin" if query.get("uploadType") == ["resumable"] and not upload_id else "write"
    elif match := _OBJECT.fullmatch(url.path):
        name = unquote(match[1])
        verb = "read" if query.get("alt") == ["media"] else "stat"
    else:
        return f"{method} {url.path}", ""
    folder, tenant_id, *_ = [*name.split("/"), "", ""]
    return f"{verb} {_kind_of_object(folder, name)}", tenant_id


def _kind_of_object(folder: str, name: str) -> str:
    if folder == "results":
        return "result" if name.endswith("/result.json") else "picture"
    if folder == "models":
        return "pipelines" if name.endswith("/pipelines.json") else "model"
    return "image" if folder == "uploads" else folder


def _name_in(body: bytes) -> str:
    """Return the name in the resource that begins a multipart upload, or that starts a resumable one."""
    match = re.search(rb"\{.*?\}\s*(?=\r\n--|$)", body, re.DOTALL)
    return str(json.loads(match[0])["name"]) if match else ""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(self, faults: FaultSource) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.faults = faults
        self.closing = threading.Event()
        self.storage = ""
        self.uploads: dict[str, str] = {}

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore that the client has gone: killed, or timed out."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self.storage: http.client.HTTPConnection | None = None

    def finish(self) -> None:
        if self.storage:
            self.storage.close()
        super().finish()

    def serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        operation, tenant_id = parse_call(self.command, self.path, body, self.server.uploads)
        fault = self.server.faults.take(operation, tenant_id)
        if fault is None:
            self.respond(self.forward(body))
        elif fault.after or fault.kind in _FAULTS_OF_RESPONSES:
            self.fail(fault, self.forward(body))
        else:
            self.fail(fault, (0, {}, b""))

    do_GET = do_POST = do_PUT = serve  # noqa: N815 - the names are http.server's

    def forward(self, body: bytes) -> Response:
        if self.storage is None:
            self.storage = http.client.HTTPConnection(self.server.storage, timeout=MAX_STALL_S)
        headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
        self.storage.request(self.command, self.path, body or None, headers)
        response = self.storage.getresponse()
        data = response.read()
        headers = {name: value for name, value in response.getheaders() if name.lower() not in _HOP_BY_HOP}
        if location := response.getheader("location"):  # of a resumable upload: its parts come through here too
            headers["Location"] = location.replace(f"//{self.server.storage}", f"//{self.headers['host']}")
            self.server.uploads[parse_qs(urlsplit(location).query)["upload_id"][0]] = _name_in(body)
        return response.status, headers, data

    def respond(self, response: Response, *, content_length: int | None = None) -> None:
        """Send a response; `content_length` is announced in place of the body's length."""
        status, headers, body = response
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 304:
            self.send_header("Content-Length", str(len(body) if content_length is None else content_length))
        self.end_headers()
        if status != 304 and self.command != "HEAD":
            self.wfile.write(body)

    def fail(self, fault: Fault, response: Response) -> None:
        status, headers, body = response
        if fault.kind.isdecimal():
            self.respond((int(fault.kind), {"Content-Type": "text/plain"}, b"no"))
        elif fault.kind == "page":
            self.respond((200, {"Content-Type": "text/html"}, b"<html>Sign in to this network</html>"))
        elif fault.kind == "truncated":
            self.respond((status, headers, body[: len(body) // 2]), content_length=max(1, len(body)))
            self.close_connection = True
        elif fault.kind == "corrupted":
            half = len(body) // 2
            self.respond((status, headers, body[:half] + bytes([body[half] ^ 1]) + body[half + 1 :]))
        elif fault.kind == "slow":
            time.sleep(SLOW_S)
            self.respond(response)
        else:
            if fault.kind == "stall":
                self.wait_for_client()
            self.reset()

    def wait_for_client(self) -> None:
        """Return when the client has hung up."""
        deadline = time.monotonic() + MAX_STALL_S
        while not self.server.closing.is_set() and time.monotonic() < deadline:
            if select.select([self.connection], [], [], 0.1)[0]:
                return

    def reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        """Log nothing."""
