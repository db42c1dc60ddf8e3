"""A proxy in front of a storage server that fails the calls it is told to fail, and hands on all others.

Kinds of faults: a status ("503"), "reset" (of the connection), "stall" (no answer, until the client has given up
or is killed), "truncated" (half of the body), "corrupted" (one bit of the body), "slow" (the first byte comes
late) and "page" (200, but not storage's). `Fault.after` lets the call happen first.
"""

import http.client
import json
import re
import select
import socket
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

SLOW_S = 0.3
LONGEST_STALL_S = 120
_OBJECT = re.compile(r"(?:/download)?/storage/v1/b/[^/]+/o/([^/]+)")
_UPLOAD = re.compile(r"(?:/resumable)?/upload/.*")
_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"}


class StorageProxy:
    """Listens from the start of the `with` to its end; `to(url)` says where the storage is."""

    def __init__(self, faults):
        self._server = _Server(faults)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def to(self, storage_url):
        self._server.storage = urlsplit(storage_url).netloc
        return self.url

    @property
    def url(self):
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.over.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def operation(method, target, body, uploads):
    """(verb and what of, tenant) of a call: ("read model", "tenant-001"). `uploads`: names by upload id."""
    url = urlsplit(target)
    asked = parse_qs(url.query)
    if _UPLOAD.fullmatch(url.path):
        upload_id = asked.get("upload_id", [""])[0]
        name = uploads.get(upload_id) or _name_in(body)
        verb = "begin" if asked.get("uploadType") == ["resumable"] and not upload_id else "write"
    elif found := _OBJECT.fullmatch(url.path):
        name = unquote(found[1])
        verb = "read" if asked.get("alt") == ["media"] else "stat"
    else:
        return f"{method} {url.path}", ""
    folder, tenant_id, *_ = [*name.split("/"), "", ""]
    return f"{verb} {_what(folder, name)}", tenant_id


def _what(folder, name):
    if folder == "results":
        return "result" if name.endswith("/result.json") else "picture"
    if folder == "models":
        return "pipelines" if name.endswith("/pipelines.json") else "model"
    return "image" if folder == "uploads" else folder


def _name_in(body):
    """Of the resource that a multipart upload begins with, or that begins a resumable one."""
    found = re.search(rb"\{.*?\}\s*(?=\r\n--|$)", body, re.DOTALL)
    return json.loads(found[0])["name"] if found else ""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(self, faults):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.faults = faults
        self.over = threading.Event()
        self.storage = ""
        self.uploads = {}

    def handle_error(self, request, client_address):
        """The client is gone: killed, or out of patience."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self):
        super().setup()
        self.storage = None

    def finish(self):
        if self.storage:
            self.storage.close()
        super().finish()

    def serve(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        called, tenant_id = operation(self.command, self.path, body, self.server.uploads)
        fault = self.server.faults.take(called, tenant_id)
        if fault is None:
            self.answer(*self.handed_on(body))
        elif fault.after or fault.kind in _OF_ANSWERS:
            self.fail(fault, *self.handed_on(body))
        else:
            self.fail(fault)

    do_GET = do_POST = do_PUT = serve  # noqa: N815 - the names are http.server's

    def handed_on(self, body):
        """The storage's answer: status, headers, body."""
        if self.storage is None:
            self.storage = http.client.HTTPConnection(self.server.storage, timeout=LONGEST_STALL_S)
        headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
        self.storage.request(self.command, self.path, body or None, headers)
        response = self.storage.getresponse()
        answered = response.read()
        headers = {name: value for name, value in response.getheaders() if name.lower() not in _HOP}
        if where := response.getheader("location"):  # of a resumable upload: its parts come through here too
            headers["Location"] = where.replace(f"//{self.server.storage}", f"//{self.headers['host']}")
            self.server.uploads[parse_qs(urlsplit(where).query)["upload_id"][0]] = _name_in(body)
        return response.status, headers, answered

    def answer(self, status, headers, body, *, promised=None):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 304:
            self.send_header("Content-Length", str(len(body) if promised is None else promised))
        self.end_headers()
        if status != 304 and self.command != "HEAD":
            self.wfile.write(body)

    def fail(self, fault, status=0, headers=None, body=b""):
        if fault.kind.isdecimal():
            self.answer(int(fault.kind), {"Content-Type": "text/plain"}, b"no")
        elif fault.kind == "page":
            self.answer(200, {"Content-Type": "text/html"}, b"<html>Sign in to this network</html>")
        elif fault.kind == "truncated":
            self.answer(status, headers, body[: len(body) // 2], promised=max(1, len(body)))
            self.close_connection = True
        elif fault.kind == "corrupted":
            half = len(body) // 2
            self.answer(status, headers, body[:half] + bytes([body[half] ^ 1]) + body[half + 1 :])
        elif fault.kind == "slow":
            time.sleep(SLOW_S)
            self.answer(status, headers, body)
        else:
            if fault.kind == "stall":
                self.wait()
            self.reset()

    def wait(self):
        """Until the client has hung up."""
        until = time.monotonic() + LONGEST_STALL_S
        while not self.server.over.is_set() and time.monotonic() < until:
            if select.select([self.connection], [], [], 0.1)[0]:
                return

    def reset(self):
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def log_message(self, *_):
        """Silent."""


_OF_ANSWERS = {"truncated", "corrupted", "slow"}
