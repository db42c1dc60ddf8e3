"""Reads what was posted: so many bytes and no more, all of them or an error, and nothing is left behind."""

from __future__ import annotations

import io
from contextlib import suppress
from typing import IO, Final

import flask

from shared.errors import IncompleteBody, InvalidEvent

MAX_BODY_BYTES: Final = 16 * 2**20  # a Pub/Sub message is at most 10 MB, a third more in base64
_STEP: Final = 2**18
_MAX_UNREAD: Final = 64 * 2**20  # twice what Cloud Run lets through


def read_body(request: flask.Request) -> bytes:
    """The body of a request, however its length was told.

    Raises:
        InvalidEvent: it has more than MAX_BODY_BYTES.
        IncompleteBody: it broke off before its announced length, or in the middle of a chunk.
    """
    stream = _taken(request)
    body = bytearray()
    try:
        while len(body) <= MAX_BODY_BYTES and (read := stream.read(_STEP)):
            body += read
        if len(body) > MAX_BODY_BYTES:
            _pass_over(stream)
    except Exception as error:  # servers and Werkzeug have no error in common for a sender who goes away
        raise IncompleteBody("The body broke off") from error
    if len(body) > MAX_BODY_BYTES:
        raise InvalidEvent(f"The body has more than {MAX_BODY_BYTES} bytes")
    if request.content_length is not None and len(body) < request.content_length:
        raise IncompleteBody("The body broke off before its announced length")
    return bytes(body)


def drop_body(request: flask.Request) -> None:
    """Read the body and keep nothing of it."""
    with suppress(Exception):  # as above; and it is of no use anyway
        _pass_over(_taken(request))


def _taken(request: flask.Request) -> IO[bytes]:
    """The body, away from functions-framework: that reads what is left of it, all of it, after the answer."""
    stream, request.stream = request.stream, io.BytesIO()
    return stream


def _pass_over(stream: IO[bytes]) -> None:
    """Some senders listen for an answer only when they have sent everything."""
    unread = 0
    while unread < _MAX_UNREAD and (read := stream.read(_STEP)):
        unread += len(read)
