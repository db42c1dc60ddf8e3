"""Turns an Event, as the envelope carried it, into a checked Request for one image of one tenant. Pure.

Everything in an event is untrusted. Its values reach an object path, a cache key or a log field only if they pass
the checks here, and error messages quote them shortened and printable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

from shared import untrusted_json
from shared.config import Config
from shared.errors import Ignored, InvalidEvent, InvalidPipeline, TenantMismatch
from shared.names import (
    GENERATION_RULE,
    MAX_IMAGE_NAME_BYTES,
    PIPELINE_NAME,
    TENANT_ID,
    UPLOADS_PREFIX,
    WORK_KEY,
    is_printable,
    parse_generation,
    quoted,
    result_prefix,
    uploads_prefix,
)
from shared.untrusted_json import InvalidJson

MAX_MESSAGE_BODY_BYTES: Final = 2**20  # tenant, image and options; as much as a pipelines.json may have
MESSAGE_FIELDS: Final = ("tenant_id", "image", "generation", "pipeline", "request_id")

Source = Literal["upload", "message"]

_MAX_FIELD_CHARACTERS: Final = 256
_MAX_IMAGE_CHARACTERS: Final = 2048
_TENANT_ID_RULE: Final = "1 to 63 of a-z, 0-9 and inner hyphens"


@dataclass(frozen=True, slots=True)
class ObjectFinalized:
    """A storage notification: this generation of an object is complete.

    `metadata` is None if the notification carries no metadata; an object without any has an empty mapping.
    """

    bucket: str
    name: str
    generation: int
    metadata: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class ImageMessage:
    """A message that requests an image, by attributes and a JSON body, if any. HTTP requests have only a body."""

    attributes: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Event:
    """One delivery: its payload, and the id and time that the platform gave it."""

    payload: ObjectFinalized | ImageMessage
    event_id: str = ""
    occurred_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ImageRef:
    """An image of a tenant in the upload bucket. `generation` None means the live generation."""

    bucket: str
    name: str
    generation: int | None = None

    @property
    def uri(self) -> str:
        """The object's `gs://` URI."""
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
    """One image of one tenant to process by one pipeline. Every field is checked.

    `source` tells whether an upload made the request, or a message (HTTP requests count as messages).
    `origin_unknown` is True if the upload's event had no metadata, so that the image may be one of our outputs.
    """

    tenant_id: str
    image: ImageRef
    pipeline: str
    options: Mapping[str, Any] = field(default_factory=dict)
    request_id: str | None = None
    event_id: str = ""
    source: Source = "message"
    origin_unknown: bool = False

    @property
    def result_prefix(self) -> str:
        """The prefix of the image's results, without the final slash."""
        return result_prefix(self.tenant_id, self.image.name)


def parse(event: Event, config: Config) -> Request:
    """Check an event and return the request that it makes.

    Raises:
        Ignored: the object is not an upload.
        InvalidEvent: a field is missing or invalid.
        InvalidPipeline: the pipeline's name is invalid.
        TenantMismatch: the image is not in the tenant's uploads.
    """
    if isinstance(event.payload, ObjectFinalized):
        return _parse_upload(event, event.payload, config)
    return _parse_message(event, message_fields(event.payload), config)


def reject_own_output(metadata: Mapping[str, Any]) -> None:
    """Raise Ignored if an object's metadata have the key that all outputs of this function have."""
    if WORK_KEY in metadata:
        raise Ignored(f"object is a copy of an output of this function: its metadata have '{WORK_KEY}'")


def loggable_fields(event: Event) -> dict[str, str]:
    """Return the valid fields of an event, for logs and errors, even if the event as a whole is invalid."""
    fields: Mapping[str, Any]
    payload = event.payload
    if isinstance(payload, ObjectFinalized):
        fields = {"image": f"gs://{payload.bucket}/{payload.name}", "generation": payload.generation}
        parts = payload.name.split("/")
        if payload.name.startswith(UPLOADS_PREFIX) and len(parts) > 2:
            fields["tenant_id"] = parts[1]
    else:
        try:
            fields = message_fields(payload)
        except InvalidEvent:
            fields = payload.attributes
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
    """Parse the JSON of an event within the limits of `untrusted_json`.

    Raises:
        InvalidEvent: it is not valid JSON, or exceeds a limit.
    """
    try:
        return untrusted_json.parse(body)
    except InvalidJson as error:
        raise InvalidEvent(f"body {error}") from error


def message_fields(message: ImageMessage) -> dict[str, Any]:
    """Return the fields of a message: those of its body, overridden by its attributes.

    Raises:
        InvalidEvent: the body is neither empty nor a JSON object, or exceeds a limit.
    """
    if len(message.body) > MAX_MESSAGE_BODY_BYTES:
        raise InvalidEvent(
            f"body of a message has {len(message.body)} bytes; the limit is {MAX_MESSAGE_BODY_BYTES} bytes: "
            "send fewer or shorter options"
        )
    body: Any = parse_json(message.body) if message.body.strip() else {}
    if not isinstance(body, dict):
        raise InvalidEvent(f"body must be a JSON object, got {quoted(body)}")
    names = (*MESSAGE_FIELDS, "options")
    fields = {name: body[name] for name in names if body.get(name) is not None}
    return fields | {name: message.attributes[name] for name in MESSAGE_FIELDS if message.attributes.get(name)}


def _parse_upload(event: Event, upload: ObjectFinalized, config: Config) -> Request:
    if upload.bucket != config.upload_bucket:
        raise Ignored(f"bucket {quoted(upload.bucket)} is not the upload bucket")
    if not upload.name.startswith(UPLOADS_PREFIX):
        raise Ignored(f"object {quoted(upload.name)} is not under '{UPLOADS_PREFIX}'")
    if upload.name.endswith("/"):
        raise Ignored("object is a folder marker: its name ends with '/'")
    reject_own_output(upload.metadata or {})
    tenant_id, slash, path = upload.name.removeprefix(UPLOADS_PREFIX).partition("/")
    if not slash or not TENANT_ID.fullmatch(tenant_id):
        raise InvalidEvent(
            f"object name must be 'uploads/{{tenant_id}}/{{path}}' with a tenant_id of {_TENANT_ID_RULE}, "
            f"got {quoted(upload.name)}"
        )
    return Request(
        tenant_id=tenant_id,
        image=ImageRef(upload.bucket, _image_name(tenant_id, path), upload.generation),
        pipeline=config.default_pipeline,
        event_id=event.event_id,
        source="upload",
        origin_unknown=upload.metadata is None,
    )


def _parse_message(event: Event, fields: Mapping[str, Any], config: Config) -> Request:
    tenant_id = _text(fields, "tenant_id")
    if not TENANT_ID.fullmatch(tenant_id):
        raise InvalidEvent(f"tenant_id must be {_TENANT_ID_RULE}, got {quoted(tenant_id)}")
    pipeline = _text(fields, "pipeline", config.default_pipeline)
    if not PIPELINE_NAME.fullmatch(pipeline):
        raise InvalidPipeline(
            f"pipeline must be a name of a-z, then up to 62 of a-z, 0-9, _ and -, got {quoted(pipeline)}"
        )
    options = fields.get("options", {})
    if not isinstance(options, dict):
        raise InvalidEvent(f"options must be a JSON object, got {quoted(options)}")
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
        raise InvalidEvent(f"{name} is required")
    limit = _MAX_IMAGE_CHARACTERS if name == "image" else _MAX_FIELD_CHARACTERS
    if not isinstance(value, str) or len(value) > limit or not is_printable(value):
        raise InvalidEvent(f"{name} must be a string of at most {limit} printable characters, got {quoted(value)}")
    return value


def _generation(fields: Mapping[str, Any]) -> int | None:
    value = fields.get("generation")
    if value is None:
        return None
    generation = parse_generation(value)
    if generation is None:
        raise InvalidEvent(f"generation must be {GENERATION_RULE}, got {quoted(value)}")
    return generation


def _named_image(tenant_id: str, image: str, config: Config) -> str:
    """Return the object name of an image given as a gs:// URI, an object name, or a path below the prefix."""
    own_prefix = uploads_prefix(tenant_id)
    mismatch = f"image is not in the uploads of tenant '{tenant_id}': expected a path under '{own_prefix}'"
    if image.startswith("gs://"):
        bucket, _, name = image.removeprefix("gs://").partition("/")
        if bucket != config.upload_bucket:
            raise TenantMismatch(f"{mismatch} in the upload bucket, got {quoted(image)}")
    elif image.startswith(UPLOADS_PREFIX):
        name = image
    else:
        name = f"{own_prefix}{image}"
    if not name.startswith(own_prefix):
        raise TenantMismatch(f"{mismatch}, got {quoted(image)}")
    return _image_name(tenant_id, name.removeprefix(own_prefix))


def _image_name(tenant_id: str, path: str) -> str:
    name = f"{uploads_prefix(tenant_id)}{path}"
    if not path or path.endswith("/"):
        raise InvalidEvent("image must name an object: its path must not be empty or end with '/'")
    if not is_printable(name) or len(name.encode(errors="replace")) > MAX_IMAGE_NAME_BYTES:
        raise InvalidEvent(f"object name of the image must be printable, and at most {MAX_IMAGE_NAME_BYTES} bytes")
    if any(part in {".", ".."} for part in path.split("/")):
        raise InvalidEvent(f"image must not have '.' or '..' in its path, got {quoted(path)}")
    return name


def _is_loggable(text: str) -> bool:
    return 0 < len(text) <= _MAX_IMAGE_CHARACTERS and is_printable(text)
