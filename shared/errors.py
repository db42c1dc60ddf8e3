"""Defines the errors that end an event, each with its verdict, HTTP status and public name.

    TenantVisionError
    ├── Ignored              409  ignored               not to be processed: acknowledged, not published
    ├── Rejected                      a retry cannot succeed: published with its status, acknowledged
    │   ├── InvalidEvent         400  invalid_event
    │   ├── InvalidPipeline      400  invalid_pipeline
    │   ├── ModelNotFound        400  model_not_found        (also a FileNotFoundError)
    │   ├── TenantMismatch       403  tenant_mismatch
    │   ├── ImageNotFound        404  image_not_found        (also a FileNotFoundError)
    │   ├── ImageTooLarge        413  image_too_large
    │   ├── UnsupportedImage     415  unsupported_image
    │   ├── InvalidImage         422  invalid_image
    │   ├── InvalidModel         422  invalid_model
    │   └── InternalError        500  internal_error         any other exception: a bug
    └── Deferred                      a retry may succeed: answered with 503, delivered again
        ├── IncompleteBody       503  incomplete_body
        ├── StorageUnavailable   503  storage_unavailable
        ├── PublishFailed        503  publish_failed
        ├── InstanceExhausted    503  instance_exhausted     memory, threads, files or disk of the instance
        └── DeadlineExceeded     504  deadline_exceeded

Four errors are not in the tree. ObjectNotFound and ObjectChanged are raised by stores, and their callers turn
them into one of the above. OutsideTenant is a bug, and is handled like any other exception. ConfigError ends the
process at start-up, before any event.
"""

from __future__ import annotations

import errno
from typing import ClassVar, Final, Literal

from shared.names import sentence

Verdict = Literal["done", "duplicate", "ignored", "rejected", "deferred"]


class TenantVisionError(Exception):
    """Base of the errors that end an event.

    `str(error)` is a message for the sender: it must hold no secrets. It is one printable line of at most
    MAX_SENTENCE_CHARACTERS, whatever the event, the image, the model or the pipeline says.
    """

    verdict: ClassVar[Verdict]
    status: ClassVar[int]
    error: ClassVar[str]

    def __init__(self, message: str = "") -> None:
        super().__init__(sentence(message))


class Ignored(TenantVisionError):
    """The event is not to be processed, and the message says why. Only HTTP callers see the status."""

    verdict = "ignored"
    status = 409
    error = "ignored"


class Rejected(TenantVisionError):
    """A retry cannot succeed: the error is published, and the event is acknowledged."""

    verdict = "rejected"


class InvalidEvent(Rejected):
    """The envelope or one of the message's fields is malformed or invalid."""

    status = 400
    error = "invalid_event"


class InvalidPipeline(Rejected):
    """The pipeline does not exist, or its definition or the request's options are invalid."""

    status = 400
    error = "invalid_pipeline"


class ModelNotFound(Rejected, FileNotFoundError):
    """The tenant has no model of this type. There is no fallback to another tenant's model."""

    status = 400
    error = "model_not_found"

    def __init__(self, tenant_id: str, model_type: str) -> None:
        super().__init__(f"Model '{model_type}' not found for tenant '{tenant_id}'")
        self.tenant_id = tenant_id
        self.model_type = model_type


class TenantMismatch(Rejected):
    """The image is not in the uploads of the tenant that the message names."""

    status = 403
    error = "tenant_mismatch"


class ImageNotFound(Rejected, FileNotFoundError):
    """The requested image, or the requested generation of it, does not exist."""

    status = 404
    error = "image_not_found"


class ImageTooLarge(Rejected):
    """The image exceeds a limit of bytes or pixels, or needs more time or memory than an event has."""

    status = 413
    error = "image_too_large"


class UnsupportedImage(Rejected):
    """The object is not an image in an accepted format."""

    status = 415
    error = "unsupported_image"


class InvalidImage(Rejected):
    """The image is empty, truncated or corrupt."""

    status = 422
    error = "invalid_image"


class InvalidModel(Rejected):
    """The tenant's model file cannot be served, and the message says why."""

    status = 422
    error = "invalid_model"


class Deferred(TenantVisionError):
    """A retry may succeed: the event is answered with 503 and delivered again."""

    verdict = "deferred"


class IncompleteBody(Deferred):
    """The request body ended early. The sender got no answer, and sends it again."""

    status = 503
    error = "incomplete_body"


class StorageUnavailable(Deferred):
    """Cloud Storage failed, timed out, denied access or has no such bucket."""

    status = 503
    error = "storage_unavailable"


class PublishFailed(Deferred):
    """Pub/Sub did not accept an error message."""

    status = 503
    error = "publish_failed"


class InstanceExhausted(Deferred):
    """The instance has no memory, thread, file descriptor or disk space left at the moment."""

    status = 503
    error = "instance_exhausted"


class DeadlineExceeded(Deferred):
    """The event's time is over."""

    status = 504
    error = "deadline_exceeded"


class InternalError(Rejected):
    """A bug. The message has no details: the cause is written to the log only."""

    status = 500
    error = "internal_error"

    def __init__(self) -> None:
        super().__init__("internal error: the cause is in the log of the function")


class ObjectNotFound(Exception):
    """Storage answered 404 for an object, or for the requested generation of it."""


class ObjectChanged(Exception):
    """Storage answered 412: the object is not at the generation that the write's precondition names."""


class OutsideTenant(Exception):
    """Code tried to access an object of another tenant, which was denied. The message names neither."""

    def __init__(self) -> None:
        super().__init__("access to an object outside the prefixes of the tenant was denied")


class ConfigError(ValueError):
    """A setting is missing or invalid. Raised at start-up only."""


_NO_MEMORY: Final = "memory"
_NO_THREAD: Final = ("can't start new thread", "pthread_create failed")  # of Python, of ONNX Runtime
_SHORTAGES: Final = {
    errno.ENOMEM: _NO_MEMORY,
    errno.EAGAIN: "thread or process",  # what fork and pthread_create answer
    errno.EMFILE: "file descriptor",
    errno.ENFILE: "file descriptor",
    errno.ENOSPC: "disk space",
    errno.EDQUOT: "disk space",
}


def shortage(error: BaseException) -> InstanceExhausted | None:
    """Return the error of an event whose instance ran out of a resource, or None if `error` says nothing of it.

    Such an error is never the fault of an image or a model: another delivery may succeed.
    """
    resource = None
    if isinstance(error, MemoryError):
        resource = _NO_MEMORY
    elif isinstance(error, OSError):
        resource = _SHORTAGES.get(error.errno or 0)
    elif any(text in str(error) for text in _NO_THREAD):
        resource = "thread"
    return InstanceExhausted(f"the instance has no {resource} left at the moment: try again") if resource else None
