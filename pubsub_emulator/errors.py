"""What a client is told when its request cannot be served: one class for each gRPC status that we answer.

PubSubError
 ├─ InvalidArgument
 ├─ NotFound
 ├─ AlreadyExists
 ├─ FailedPrecondition
 └─ Unavailable
"""

from __future__ import annotations


class PubSubError(Exception):
    status: str  # a member of grpc.StatusCode


class InvalidArgument(PubSubError):
    status = "INVALID_ARGUMENT"


class NotFound(PubSubError):
    status = "NOT_FOUND"


class AlreadyExists(PubSubError):
    status = "ALREADY_EXISTS"


class FailedPrecondition(PubSubError):
    status = "FAILED_PRECONDITION"


class Unavailable(PubSubError):
    status = "UNAVAILABLE"
