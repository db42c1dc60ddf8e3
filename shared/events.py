"""Turns an Event, as the envelope gave it, into a Request for one image of one tenant. Pure.

Everything in an event comes from a stranger: nothing of it reaches a path, a cache key or a log line but
through the checks here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from shared.config import Config
from shared.errors import Ignored, InvalidEvent, InvalidPipeline, TenantMismatch
from shared.names import (
    MAX_IMAGE_NAME_BYTES,
    PIPELINE_NAME,
    TENANT_ID,
    UPLOADS_PREFIX,
    WORK_KEY,
    is_printable,
    parse_generation,
    result_prefix,
    uploads_prefix,
)

FIELDS: Final = ("tenant_id", "image", "generation", "pipeline", "request_id")

_MAX_TEXT: Final = 256
_MAX_IMAGE: Final = 2048


@dataclass(frozen=True, slots=True)
class ObjectFinalized:
    """Storage says: this generation of this object is complete. `metadata` None: it says nothing of them."""

    bucket: str
    name: str
    generation: int
    metadata: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class ImageMessage:
    """A publisher asks for an image, by attributes and an optional JSON body."""

    attributes: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Event:
    """What woke us: `what`, and what the platform says about the delivery itself."""

    payload: ObjectFinalized | ImageMessage
    event_id: str = ""
    occurred_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ImageRef:
    """An image of a tenant in the upload bucket. `generation` None: the live one."""

    bucket: str
    name: str
    generation: int | None = None

    @property
    def uri(self) -> str:
        return f"gs://{self.bucket}/{self.name}"


@dataclass(frozen=True, slots=True)
class ImageVersion:
    """An image of a tenant in the upload bucket at one known generation."""

    bucket: str
    name: str
    generation: int

    @property
    def uri(self) -> str:
        return f"gs://{self.bucket}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One image, one tenant, one pipeline: every field checked."""

    tenant_id: str
    image: ImageRef
    pipeline: str
    options: Mapping[str, Any] = field(default_factory=dict)
    request_id: str | None = None
    event_id: str = ""
    by_upload: bool = False
    origin_unknown: bool = False  # the event does not tell whether the image is one of our own outputs

    @property
    def result_prefix(self) -> str:
        """Where the image's results lie, without the final slash."""
        return result_prefix(self.tenant_id, self.image.name)


def parse(event: Event, config: Config) -> Request:
    """Check an event and say what it asks for.

    Raises:
        Ignored: the object is not an upload.
        InvalidEvent: a field is missing or not what the contract says.
        TenantMismatch: the object named is not in the named tenant's uploads.
    """
    if isinstance(event.payload, ObjectFinalized):
        return _parse_upload(event, event.payload, config)
    return _parse_message(event, message_fields(event.payload), config)


def reject_own_output(metadata: Mapping[str, Any]) -> None:
    """Raises:
    Ignored: the object's metadata say that we wrote it: somebody copied it here.
    """
    if WORK_KEY in metadata:
        raise Ignored("The object is a copy of one of our own outputs")


def loggable_fields(event: Event) -> dict[str, str]:
    """The fields of an event that are safe to repeat, for logs and errors, however wrong the rest may be."""
    fields: Mapping[str, Any]
    if isinstance(event.payload, ObjectFinalized):
        fields = {
            "image": f"gs://{event.payload.bucket}/{event.payload.name}",
            "generation": event.payload.generation,
        }
        parts = event.payload.name.split("/")
        if event.payload.name.startswith(UPLOADS_PREFIX) and len(parts) > 2:
            fields["tenant_id"] = parts[1]
    else:
        try:
            fields = message_fields(event.payload)
        except InvalidEvent:
            fields = event.payload.attributes
    checks: dict[str, Callable[[str], object]] = {
        "tenant_id": TENANT_ID.fullmatch,
        "image": _is_loggable,
        "generation": parse_generation,
        "pipeline": PIPELINE_NAME.fullmatch,
        "request_id": _is_loggable,
    }
    texts = {name: str(fields[name]) for name in checks if isinstance(fields.get(name), (str, int))}
    safe = {name: text for name, text in texts.items() if checks[name](text)}
    if _is_loggable(event.event_id):
        safe["event_id"] = event.event_id
    return safe


def parse_json(body: bytes) -> Any:
    """Parse a stranger's JSON: strict, and refused rather than crashing when it is deep, huge or not UTF-8.

    Raises:
        InvalidEvent: it is not JSON.
    """
    try:
        value = json.loads(body.decode(), parse_constant=_refuse_constant)
        if rb"\ud" in body.lower():  # half of a pair of surrogates is no text: no result could repeat it
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise InvalidEvent("The body is not valid JSON") from error
    return value


def message_fields(message: ImageMessage) -> dict[str, Any]:
    """The fields a message carries: its body's, overruled by its attributes.

    Raises:
        InvalidEvent: the body is there and is not a JSON object.
    """
    body: Any = parse_json(message.body) if message.body.strip() else {}
    if not isinstance(body, dict):
        raise InvalidEvent("The body is JSON but not an object")
    wanted = (*FIELDS, "options")
    fields = {name: body[name] for name in wanted if body.get(name) is not None}
    return fields | {name: message.attributes[name] for name in FIELDS if message.attributes.get(name)}


def _parse_upload(event: Event, upload: ObjectFinalized, config: Config) -> Request:
    if upload.bucket != config.upload_bucket:
        raise Ignored("The object is not in the upload bucket")
    if not upload.name.startswith(UPLOADS_PREFIX):
        raise Ignored(f"The object is not under {UPLOADS_PREFIX}")
    if upload.name.endswith("/"):
        raise Ignored("The object is a folder marker")
    reject_own_output(upload.metadata or {})
    tenant_id, slash, path = upload.name.removeprefix(UPLOADS_PREFIX).partition("/")
    if not slash or not TENANT_ID.fullmatch(tenant_id):
        raise InvalidEvent("An upload belongs under uploads/{tenant_id}/, with a valid tenant id")
    return Request(
        tenant_id=tenant_id,
        image=ImageRef(upload.bucket, _image_name(tenant_id, path), upload.generation),
        pipeline=config.default_pipeline,
        event_id=event.event_id,
        by_upload=True,
        origin_unknown=upload.metadata is None,
    )


def _parse_message(event: Event, fields: Mapping[str, Any], config: Config) -> Request:
    tenant_id = _text(fields, "tenant_id")
    if not TENANT_ID.fullmatch(tenant_id):
        raise InvalidEvent("tenant_id is not a valid tenant id: 1 to 63 of a-z, 0-9 and inner hyphens")
    pipeline = _text(fields, "pipeline", config.default_pipeline)
    if not PIPELINE_NAME.fullmatch(pipeline):
        raise InvalidPipeline("pipeline is not a valid name: a-z, then up to 62 of a-z, 0-9, _ and -")
    options = fields.get("options", {})
    if not isinstance(options, dict):
        raise InvalidEvent("options is not a JSON object")
    return Request(
        tenant_id=tenant_id,
        image=ImageRef(
            config.upload_bucket, _named_image(tenant_id, _text(fields, "image"), config), _generation(fields)
        ),
        pipeline=pipeline,
        options=options,
        request_id=_text(fields, "request_id", "") or None,
        event_id=event.event_id,
    )


def _text(fields: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = fields.get(name, default)
    if value is None:
        raise InvalidEvent(f"{name} is missing")
    limit = _MAX_IMAGE if name == "image" else _MAX_TEXT
    if not isinstance(value, str) or len(value) > limit or not is_printable(value):
        raise InvalidEvent(f"{name} is not a text of at most {limit} printable characters")
    return value


def _generation(fields: Mapping[str, Any]) -> int | None:
    value = fields.get("generation")
    if value is None:
        return None
    generation = parse_generation(value)
    if generation is None:
        raise InvalidEvent("generation is not a generation's number")
    return generation


def _named_image(tenant_id: str, image: str, config: Config) -> str:
    """The object a message names: a gs:// URI, an object name under uploads/, or a path below the tenant's."""
    if image.startswith("gs://"):
        bucket, _, name = image.removeprefix("gs://").partition("/")
        if bucket != config.upload_bucket:
            raise TenantMismatch(f"The image is not in the uploads of tenant '{tenant_id}'")
    elif image.startswith(UPLOADS_PREFIX):
        name = image
    else:
        name = f"{uploads_prefix(tenant_id)}{image}"
    own = uploads_prefix(tenant_id)
    if not name.startswith(own):
        raise TenantMismatch(f"The image is not in the uploads of tenant '{tenant_id}'")
    return _image_name(tenant_id, name.removeprefix(own))


def _image_name(tenant_id: str, path: str) -> str:
    name = f"{uploads_prefix(tenant_id)}{path}"
    if not path or path.endswith("/"):
        raise InvalidEvent("The image's name is empty or a folder's")
    if not is_printable(name) or len(name.encode(errors="replace")) > MAX_IMAGE_NAME_BYTES:
        raise InvalidEvent(f"The image's name has unprintable characters or over {MAX_IMAGE_NAME_BYTES} bytes")
    if any(part in {".", ".."} for part in path.split("/")):
        raise InvalidEvent("The image's name has a . or .. part")
    return name


def _is_loggable(text: str) -> bool:
    return 0 < len(text) <= _MAX_IMAGE and is_printable(text)


def _refuse_constant(name: str) -> None:
    raise ValueError(name)
