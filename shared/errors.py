"""What can go wrong, and what becomes of an event when it does. Nothing here knows who catches it.

    TenantVisionError
    ├── Ignored              409  ignored               not for us: acknowledged, not published
    ├── Rejected                      trying again cannot help: published with its status, acknowledged
    │   ├── InvalidEvent         400  invalid_event
    │   ├── InvalidPipeline      400  invalid_pipeline
    │   ├── ModelNotFound        400  model_not_found        (also a FileNotFoundError)
    │   ├── TenantMismatch       403  tenant_mismatch
    │   ├── ImageNotFound        404  image_not_found        (also a FileNotFoundError)
    │   ├── ImageTooLarge        413  image_too_large
    │   ├── UnsupportedImage     415  unsupported_image
    │   ├── InvalidImage         422  invalid_image
    │   ├── InvalidModel         422  invalid_model
    │   └── InternalError        500  internal_error         any other exception, as the one `except` calls it
    └── Deferred                      trying again may help: answered 503, delivered again
        ├── IncompleteBody       503  incomplete_body
        ├── StorageUnavailable   503  storage_unavailable
        ├── PublishFailed        503  publish_failed
        └── DeadlineExceeded     504  deadline_exceeded

Beside the tree stand two that never leave the seam they come from: ObjectNotFound and ObjectChanged, which
the readers of a bucket turn into one of the above; OutsideTenant, which is a bug and handled as any; and
ConfigError, which ends the process before any event.
"""

from __future__ import annotations

from typing import ClassVar, Literal

Verdict = Literal["done", "duplicate", "ignored", "rejected", "deferred"]


class TenantVisionError(Exception):
    """An end of an event other than `done` and `duplicate`. `str(error)` is a sentence its sender may read."""

    verdict: ClassVar[Verdict]
    status: ClassVar[int]
    error: ClassVar[str]


class Ignored(TenantVisionError):
    """The event is not for us; the sentence says why. The status is for a caller who waits for a result."""

    verdict = "ignored"
    status = 409
    error = "ignored"


class Rejected(TenantVisionError):
    verdict = "rejected"


class InvalidEvent(Rejected):
    status = 400
    error = "invalid_event"


class InvalidPipeline(Rejected):
    status = 400
    error = "invalid_pipeline"


class ModelNotFound(Rejected, FileNotFoundError):
    """The tenant has no model of this type. There is no fallback to anybody else's."""

    status = 400
    error = "model_not_found"

    def __init__(self, tenant_id: str, model_type: str) -> None:
        super().__init__(f"Model '{model_type}' not found for tenant '{tenant_id}'")
        self.tenant_id = tenant_id
        self.model_type = model_type


class TenantMismatch(Rejected):
    status = 403
    error = "tenant_mismatch"


class ImageNotFound(Rejected, FileNotFoundError):
    status = 404
    error = "image_not_found"


class ImageTooLarge(Rejected):
    status = 413
    error = "image_too_large"


class UnsupportedImage(Rejected):
    status = 415
    error = "unsupported_image"


class InvalidImage(Rejected):
    status = 422
    error = "invalid_image"


class InvalidModel(Rejected):
    """The file in the tenant's place is not a model that can be served; the sentence says what was found."""

    status = 422
    error = "invalid_model"


class Deferred(TenantVisionError):
    verdict = "deferred"


class IncompleteBody(Deferred):
    """What was posted broke off. Whoever sent it has no answer, and sends it again."""

    status = 503
    error = "incomplete_body"


class StorageUnavailable(Deferred):
    status = 503
    error = "storage_unavailable"


class PublishFailed(Deferred):
    status = 503
    error = "publish_failed"


class DeadlineExceeded(Deferred):
    status = 504
    error = "deadline_exceeded"


class InternalError(Rejected):
    """A bug of ours. Its sentence says no more than that: the cause is in the log, not with the sender."""

    status = 500
    error = "internal_error"

    def __init__(self) -> None:
        super().__init__("The processor failed on this event; the cause is in its log")


class ObjectNotFound(Exception):
    """Storage answered 404 for this object (or for this generation of it)."""


class ObjectChanged(Exception):
    """Storage answered 412: the object is no longer at the generation the write was made for."""


class OutsideTenant(Exception):
    """Code of ours reached for an object that is not its tenant's, and did not get it. Names neither."""

    def __init__(self) -> None:
        super().__init__("An object was asked for that is not of the tenant it was asked for")


class ConfigError(ValueError):
    """A setting is missing or not what it takes. Raised at start-up only."""
