"""Reads the body of an HTTP request up to a limit, completely or with an error, and drains what it drops."""

from __future__ import annotations

import io
from contextlib import suppress
from typing import IO, Final

import flask

from shared.errors import IncompleteBody, InvalidEvent

MAX_BODY_BYTES: Final = 16 * 2**20  # a Pub/Sub message has at most 10 MB, and base64 adds a third
_READ_BYTES: Final = 2**18
_MAX_DRAINED_BYTES: Final = 64 * 2**20  # Cloud Run lets requests of at most 32 MiB through


def read_body(request: flask.Request) -> bytes:
    """Read the body of a request, with a Content-Length or in chunks.

    Raises:
        InvalidEvent: it has more than MAX_BODY_BYTES.
        IncompleteBody: it ended before its Content-Length, or within a chunk.
    """
    stream = _detach_stream(request)
    body = bytearray()
    try:
        while len(body) <= MAX_BODY_BYTES and (data := stream.read(_READ_BYTES)):
            body += data
        if len(body) > MAX_BODY_BYTES:
            _drain(stream)
    except Exception as error:  # servers and Werkzeug share no exception class for a closed connection
        raise IncompleteBody("request body ended early") from error
    if len(body) > MAX_BODY_BYTES:
        raise InvalidEvent(f"request body exceeds the limit of {MAX_BODY_BYTES} bytes")
    if request.content_length is not None and len(body) < request.content_length:
        raise IncompleteBody(f"request body ended early: got {len(body)} of {request.content_length} bytes")
    return bytes(body)


def drop_body(request: flask.Request) -> None:
    """Read the body of a request and discard it."""
    with suppress(Exception):  # the body is not used, so it need not be complete
        _drain(_detach_stream(request))


def _detach_stream(request: flask.Request) -> IO[bytes]:
    """Take the body from the request: functions-framework would read all that is left of it after the answer."""
    stream, request.stream = request.stream, io.BytesIO()
    return stream


def _drain(stream: IO[bytes]) -> None:
    """Read and discard the rest of a body: some HTTP clients read the answer only after they have sent it all."""
    unread = 0
    while unread < _MAX_DRAINED_BYTES and (data := stream.read(_READ_BYTES)):
        unread += len(data)
