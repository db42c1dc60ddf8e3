"""Errors that the emulator answers with: one class for each gRPC status, named as in `google.api_core.exceptions`.

PubSubError
 ├─ InvalidArgument
 ├─ NotFound
 ├─ AlreadyExists
 ├─ FailedPrecondition
 └─ Unavailable
"""

from __future__ import annotations


class PubSubError(Exception):
    """A request cannot be served; `status` is the name of a member of `grpc.StatusCode`."""

    status: str


class InvalidArgument(PubSubError):
    """A field of the request is outside its limits or malformed."""

    status = "INVALID_ARGUMENT"


class NotFound(PubSubError):
    """The topic or the subscription does not exist."""

    status = "NOT_FOUND"


class AlreadyExists(PubSubError):
    """A topic or a subscription of this name exists."""

    status = "ALREADY_EXISTS"


class FailedPrecondition(PubSubError):
    """The subscription is in a state in which the request makes no sense."""

    status = "FAILED_PRECONDITION"


class Unavailable(PubSubError):
    """The server is stopping."""

    status = "UNAVAILABLE"
