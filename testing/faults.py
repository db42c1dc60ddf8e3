"""A storage server that answers what it is told to: the faults that no emulator injects."""

import contextlib
import json
import socket
import struct
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Answer:
    """`promised`: the Content-Length said; more than the body has, and the connection ends in the middle.

    `pause_s`: between any 10 kB of the body and the next.
    """

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=lambda: {"content-type": "application/json"})
    promised: int | None = None
    pause_s: float = 0.0


RESET = "reset"
SILENCE = "silence"


def metadata(name="o", *, generation="17", crc32c="AAAAAA==", size="0"):
    """An object's resource, as storage describes it."""
    resource = {"name": name, "bucket": "b", "generation": generation, "crc32c": crc32c, "size": size}
    return Answer(body=json.dumps(resource).encode())


@contextlib.contextmanager
def storage_that_answers(*answers):
    """The server's URL, and the requests it got. The last answer is repeated for ever."""
    with _Server(answers) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", server.requests
        finally:
            server.over.set()
            server.shutdown()
            thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, answers):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers = list(answers)
        self.requests = []
        self.over = threading.Event()

    def handle_error(self, request, client_address):
        """The client gave up: that is what is tested."""


class _Handler(BaseHTTPRequestHandler):
    def answer(self):
        self.rfile.read(int(self.headers.get("content-length") or 0))
        answers = self.server.answers
        answer = answers[min(len(self.server.requests), len(answers) - 1)]
        self.server.requests.append(f"{self.command} {self.path}")
        if answer == SILENCE:
            self.server.over.wait(10)
        elif answer == RESET:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        else:
            self.send(answer)
        self.close_connection = True

    def do_GET(self):
        self.answer()

    def do_POST(self):
        self.answer()

    def do_PUT(self):
        self.answer()

    def send(self, answer):
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(answer.promised or len(answer.body)))
        self.end_headers()
        if answer.status != 304:
            for start in range(0, len(answer.body), 10_000):
                self.wfile.write(answer.body[start : start + 10_000])
                self.server.over.wait(answer.pause_s)

    def log_message(self, *_):
        """Silent."""
