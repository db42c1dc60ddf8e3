"""An HTTP endpoint that is pushed to."""

import contextlib
import itertools
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Posted:
    path: str
    headers: dict[str, str]  # names in lower case
    body: bytes


class Endpoint:
    """Listens on 127.0.0.1 and remembers what is posted.

    It answers each path with `statuses(path)`, one after the other, and with 200 when they run out.
    """

    def __init__(self, statuses=lambda _: [], *, port=0):
        self.posted = []
        self.release = threading.Event()
        self.release.set()
        answers = {}
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                endpoint.posted.append(Posted(self.path, headers, body))
                answer = answers.setdefault(self.path, itertools.chain(statuses(self.path), itertools.repeat(200)))
                status = next(answer)
                endpoint.release.wait(30)
                with contextlib.suppress(OSError):  # the other side may have left
                    self.send_response_only(status)
                    self.send_header("Content-Length", "0")
                    self.end_headers()

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 64
            daemon_threads = False  # joined by server_close()

        self._server = Server(("127.0.0.1", port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def url(self):
        return f"http://127.0.0.1:{self._server.server_port}"

    def count(self, path):
        return sum(posted.path == path for posted in self.posted)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.release.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
