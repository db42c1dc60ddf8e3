"""Request bodies: complete, limited and drained, from streams and through the deployed server."""

import io
import json
import re
import socket
import urllib.parse
from collections.abc import Iterator
from typing import Any

import flask
import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.test import create_environ

from functions.body import MAX_BODY_BYTES, read_body
from local.stack import Stack
from shared.errors import IncompleteBody, InvalidEvent
from testing.case_ids import case_id
from testing.cloud import Cloud
from testing.serving import ServeFunction

SENDER = "ya29.a-token-of-the-sender"
APP = flask.Flask("stream")


def read(stream: io.IOBase, **environ: Any) -> bytes:
    """Call `read_body` on a stream, and check that nothing is left for functions-framework to read."""
    environ |= {"wsgi.input": stream, "REQUEST_METHOD": "POST"}
    with APP.test_request_context("/", environ_overrides=environ):
        request: flask.Request = flask.request._get_current_object()  # type: ignore[attr-defined]
        try:
            return read_body(request)
        finally:
            assert request.get_data() == b"", "functions-framework would read the rest"


class Trickle(io.RawIOBase):
    """Gives `size` bytes in small pieces, counts those that were read, and then raises `error`, if any."""

    def __init__(self, size: int, error: Exception | None = None) -> None:
        self.remaining = size
        self.bytes_read = 0
        self.error = error

    def read(self, size: int = -1) -> bytes:
        assert 0 < size <= 2**20, "read all at once"
        assert self.bytes_read <= 100 * 2**20, "read without a limit"
        if not self.remaining and self.error:
            raise self.error
        count = min(size, self.remaining, 100_000)
        self.remaining -= count
        self.bytes_read += count
        return b" " * count


CHUNKED = {"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}


@pytest.mark.parametrize("size", [0, 1, 100_001, MAX_BODY_BYTES])
@pytest.mark.parametrize("sized_body", [True, False], ids=["content-length", "chunked"])
def test_body_is_read_completely_with_and_without_content_length(size: int, *, sized_body: bool) -> None:
    environ = {"CONTENT_LENGTH": str(size), "wsgi.input_terminated": True} if sized_body else CHUNKED
    assert len(read(Trickle(size), **environ)) == size


@pytest.mark.parametrize("size", [MAX_BODY_BYTES + 1, 10**12])
@pytest.mark.parametrize("sized_body", [True, False], ids=["content-length", "chunked"])
def test_too_long_body_is_rejected_without_reading_it_all(size: int, *, sized_body: bool) -> None:
    stream = Trickle(size)
    environ = {"CONTENT_LENGTH": str(size), "wsgi.input_terminated": True} if sized_body else CHUNKED
    with pytest.raises(InvalidEvent, match="exceeds the limit"):
        read(stream, **environ)
    assert stream.bytes_read <= 100 * 2**20


@pytest.mark.parametrize(
    "environ", [{"CONTENT_LENGTH": "1000"}, {"CONTENT_LENGTH": "1000", "wsgi.input_terminated": True}], ids=case_id
)
@pytest.mark.parametrize("size", [0, 1, 999], ids=case_id)
def test_body_shorter_than_its_content_length_is_incomplete(size: int, environ: dict[str, Any]) -> None:
    with pytest.raises(IncompleteBody):
        read(Trickle(size), **environ)


@pytest.mark.parametrize("error", [OSError("reset"), ValueError("chunk"), RuntimeError("own")], ids=case_id)
@pytest.mark.parametrize("size", [0, 1000, MAX_BODY_BYTES + 1], ids=case_id)
def test_any_error_of_the_server_while_reading_is_an_incomplete_body(error: Exception, size: int) -> None:
    with pytest.raises(IncompleteBody):
        read(Trickle(size, error), **CHUNKED)


# Through gunicorn, as it is deployed


@pytest.fixture(scope="module")
def served() -> Iterator[Stack]:
    with Stack(targets=("process_message", "process_request")) as stack:
        yield stack


def exchange(served: Stack, sent: bytes, target: str = "process_message") -> str:
    """Send bytes, close the sending side, and return the answer."""
    url = urllib.parse.urlsplit(served.url(target))
    with socket.create_connection((url.hostname, url.port), timeout=20) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        answer = bytearray()
        try:
            while part := connection.recv(65536):
                answer += part
        except ConnectionResetError:
            pass
    return answer.decode("latin-1")


HEAD = f"POST / HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {SENDER}\r\nConnection: close\r\n"
NOTHING = json.dumps({"message": {"messageId": "m", "attributes": {}}})


def chunked(*chunks: str, end: str = "0\r\n\r\n") -> bytes:
    body = "".join(f"{len(chunk):x}\r\n{chunk}\r\n" for chunk in chunks)
    return f"{HEAD}Transfer-Encoding: chunked\r\n\r\n{body}{end}".encode("latin-1")


def sized(length: int | str, body: str, more: str = "") -> bytes:
    return f"{HEAD}{more}Content-Length: {length}\r\n\r\n{body}".encode("latin-1")


SENT = {
    "an event in chunks": (chunked(NOTHING[:5], NOTHING[5:]), 200, "rejected"),
    "no length at all": (f"{HEAD}\r\n{NOTHING}".encode(), 200, "rejected"),
    "a body that is half there": (sized(1000, NOTHING), 503, "deferred"),
    "chunks without an end": (chunked(NOTHING, end=""), 503, "deferred"),
    "a chunk of no number": (chunked(NOTHING, end="xyz\r\n"), 503, "deferred"),
    "a chunk that is longer than it said": (chunked(end="2\r\n{}}}}}\r\n0\r\n\r\n"), 503, "deferred"),
    "20 megabytes in chunks": (chunked(*[" " * 2**20] * 20), 200, "rejected"),
    "20 megabytes": (sized(20 * 2**20, " " * (20 * 2**20)), 200, "rejected"),
    "headers of odd letters": (sized(2, "{}", "ce-type: \xff\xfe\xe9\r\nce-id: \xa0\r\n"), 200, "rejected"),
    "a header of 8000 letters": (sized(2, "{}", f"ce-type: {'x' * 8000}\r\n"), 200, "rejected"),
    "a form": (sized(3, "a=b", "Content-Type: application/x-www-form-urlencoded\r\n"), 200, "rejected"),
    "a form of many parts": (sized(2, "{}", "Content-Type: multipart/form-data\r\n"), 200, "rejected"),
    "a charset of nowhere": (
        sized(2, "{}", "Content-Type: application/json; charset=klingon\r\n"),
        200,
        "rejected",
    ),
}


@pytest.mark.stack
@pytest.mark.parametrize("case", SENT)
def test_deployed_server_answers_a_verdict_to_any_request(case: str, served: Stack) -> None:
    sent, status, verdict = SENT[case]
    answer = exchange(served, sent)
    assert answer.startswith(f"HTTP/1.1 {status} "), answer[:300]
    assert answer.endswith(f"\r\n\r\n{verdict}\n")
    assert SENDER not in answer


# Requests that gunicorn rejects before it calls a function.
MALFORMED_HTTP = {
    "nothing": b"",
    "no HTTP": b"\x16\x03\x01\x02\x00" * 20,
    "a method of nonsense": b"P\0ST / HTTP/1.1\r\nHost: here\r\n\r\n",
    "a length that is no number": sized("ten", "{}"),
    "a length below nothing": sized(-1, "{}"),
    "two lengths": sized(2, "{}", "Content-Length: 3\r\n"),
    "a length and chunks": sized(2, "{}", "Transfer-Encoding: chunked\r\n"),
    "a header without a colon": f"POST / HTTP/1.1\r\nAuthorization Bearer {SENDER}\r\n\r\n".encode(),
    "a header with NUL": sized(2, "{}", "ce-type: a\0b\r\n"),
    "a hundred kilobytes of headers": sized(2, "{}", "".join(f"x-{n}: {'x' * 7000}\r\n" for n in range(15))),
    "a thousand headers": sized(2, "{}", "".join(f"x-{n}: x\r\n" for n in range(1000))),
}


@pytest.mark.stack
@pytest.mark.parametrize("case", MALFORMED_HTTP)
def test_server_survives_malformed_http_without_logging_the_sender(case: str, served: Stack) -> None:
    answer = exchange(served, MALFORMED_HTTP[case])

    assert not answer or re.match(r"HTTP/1\.1 (2|4|501)", answer), answer[:200]
    assert exchange(served, chunked(NOTHING)).endswith("rejected\n")
    log = [line for _, line in served.fresh_lines()]
    assert any('"verdict": "rejected"' in line for line in log)
    assert not [line for line in log if SENDER in line or "Traceback" in line]


@pytest.mark.stack
def test_caller_with_an_incomplete_body_gets_a_503_problem(served: Stack) -> None:
    answer = exchange(served, sized(1000, "{"), "process_request")
    assert answer.startswith("HTTP/1.1 503 ")
    assert json.loads(answer.partition("\r\n\r\n")[2])["error"] == "incomplete_body"


@pytest.mark.stack
def test_deployed_server_reads_the_body_of_another_method(served: Stack) -> None:
    sent = chunked(*[" " * 2**20] * 20).replace(b"POST", b"PUT", 1)
    assert exchange(served, sent).startswith("HTTP/1.1 405 ")


@pytest.mark.parametrize("entry_point", ["process_upload", "process_request"])
def test_endless_body_of_another_method_is_not_read_completely(
    entry_point: str, cloud: Cloud, serve: ServeFunction
) -> None:
    stream = Trickle(10**12)
    environ = create_environ(method="PUT") | CHUNKED | {"wsgi.input": stream}
    started: list[Any] = []
    application: Any = serve(entry_point, cloud.settings).application

    answer = application(environ, lambda *arguments: started.extend(arguments))

    assert started[0].startswith("405 ")
    answer.close()
    assert 0 < stream.bytes_read <= 100 * 2**20


@given(st.binary(max_size=300), st.integers(0, 400))
def test_body_is_returned_unless_shorter_than_its_content_length(body: bytes, length: int) -> None:
    environ = {"CONTENT_LENGTH": str(length), "wsgi.input_terminated": True}
    try:
        assert read(io.BytesIO(body), **environ)[:length] == body[:length]
    except IncompleteBody:
        assert len(body) < length
