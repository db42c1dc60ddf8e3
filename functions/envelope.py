"""Parses the headers and body of a delivery into an Event. Pure, and independent of tenants and images.

    CloudEvent, binary (ce-* headers)         } storage.object.v1.finalized    -> ObjectFinalized
    CloudEvent, structured (one JSON object)  } pubsub.topic.v1.messagePublished ─┐
    Pub/Sub push, wrapped ({"message": …})    } ─────────────────────────────────┤
    Pub/Sub push, unwrapped (metadata headers)} ─────────────────────────────────┴─> ImageMessage, or the
                                                   ObjectFinalized of a storage notification inside it

Sources: CloudEvents 1.0.2 HTTP binding; cloud.google.com/pubsub/docs/push and /payload-unwrapping;
cloud.google.com/storage/docs/pubsub-notifications.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from shared.errors import Ignored, InvalidEvent
from shared.events import MESSAGE_FIELDS, Event, ImageMessage, ObjectFinalized, parse_json
from shared.names import GENERATION_RULE, parse_generation, quoted

STORAGE_FINALIZED: Final = "google.cloud.storage.object.v1.finalized"
MESSAGE_PUBLISHED: Final = "google.cloud.pubsub.topic.v1.messagePublished"

_STORAGE_TYPE_PREFIX: Final = "google.cloud.storage.object.v1."
_UNWRAPPED_ID_HEADER: Final = "x-goog-pubsub-message-id"
_NOTIFICATION_ATTRIBUTES: Final = ("eventType", "bucketId", "objectId", "objectGeneration")
_MAX_EVENT_ID_CHARACTERS: Final = 256


def parse(headers: Mapping[str, str], body: bytes) -> Event:
    """Parse an envelope. `headers` have lower-case names.

    Raises:
        InvalidEvent: it is none of the above, or malformed.
        Ignored: it is a storage event of another type.
    """
    if headers.get("content-type", "").lower().startswith("application/cloudevents+json"):
        return _parse_structured(body)
    if "ce-type" in headers:
        data = parse_json(body)
        return _parse_cloud_event(headers["ce-type"], headers.get("ce-id"), headers.get("ce-time"), data)
    if _UNWRAPPED_ID_HEADER in headers:
        return _parse_unwrapped(headers, body)
    return _parse_wrapped(parse_json(body))


def _parse_structured(body: bytes) -> Event:
    event = _object(parse_json(body), "CloudEvent")
    data = event.get("data")
    if "data_base64" in event:
        data = parse_json(_decode_base64(event["data_base64"], "data_base64"))
    return _parse_cloud_event(event.get("type"), event.get("id"), event.get("time"), data)


def _parse_cloud_event(event_type: object, event_id: object, time: object, data: object) -> Event:
    if event_type == STORAGE_FINALIZED:
        resource = _object(data, "CloudEvent data")
        finalized = _finalized(resource, ("bucket", "name", "generation"))
        return Event(replace(finalized, metadata=_metadata(resource)), _event_id(event_id), _time(time))
    if event_type == MESSAGE_PUBLISHED:
        return _parse_wrapped(data, event_id)
    if isinstance(event_type, str) and event_type.startswith(_STORAGE_TYPE_PREFIX):
        raise Ignored(f"event type {quoted(event_type)} is ignored: expected '{STORAGE_FINALIZED}'")
    raise InvalidEvent(
        f"unsupported event type {quoted(event_type)}; expected '{STORAGE_FINALIZED}' or '{MESSAGE_PUBLISHED}'"
    )


def _parse_wrapped(body: object, event_id: object = None) -> Event:
    message = _object(_object(body, "Pub/Sub envelope").get("message"), "message")
    attributes = message.get("attributes") or {}
    if not isinstance(attributes, dict):
        raise InvalidEvent(f"attributes must be an object of strings, got {quoted(attributes)}")
    for name, value in attributes.items():
        if not isinstance(value, str):
            raise InvalidEvent(f"attributes must be strings, got {quoted(value)} for {quoted(name)}")
    message_id = message.get("messageId", message.get("message_id", event_id))
    time = message.get("publishTime", message.get("publish_time"))
    data = message.get("data")
    return _parse_message(attributes, b"" if data is None else _decode_base64(data, "data"), message_id, time)


def _parse_unwrapped(headers: Mapping[str, str], body: bytes) -> Event:
    """Parse a message whose attributes are headers. Servers lower their case, and may turn `_` into `-`."""
    names = (*MESSAGE_FIELDS, *_NOTIFICATION_ATTRIBUTES)
    spellings = {name: (name.lower(), name.lower().replace("_", "-")) for name in names}
    attributes = {name: headers[key] for name, keys in spellings.items() for key in keys if key in headers}
    time = headers.get("x-goog-pubsub-publish-time")
    return _parse_message(attributes, body, headers[_UNWRAPPED_ID_HEADER], time)


def _parse_message(attributes: Mapping[str, str], data: bytes, message_id: object, time: object) -> Event:
    if "eventType" not in attributes:
        return Event(ImageMessage(attributes, data), _event_id(message_id), _time(time))
    event_type = attributes["eventType"]
    if event_type != "OBJECT_FINALIZE":
        raise Ignored(f"notification type {quoted(event_type)} is ignored: expected 'OBJECT_FINALIZE'")
    finalized = _finalized(attributes, _NOTIFICATION_ATTRIBUTES[1:])
    return Event(replace(finalized, metadata=_metadata_of_notification(data)), _event_id(message_id), _time(time))


def _finalized(fields: Mapping[str, Any], keys: tuple[str, ...]) -> ObjectFinalized:
    """Read an object from the fields named by `keys`: its bucket, name and generation."""
    bucket_key, name_key, generation_key = keys
    bucket = _text(fields, bucket_key)
    name = _text(fields, name_key)
    value = fields.get(generation_key)
    generation = parse_generation(value)
    if generation is None:
        raise InvalidEvent(f"{generation_key} must be {GENERATION_RULE}, got {quoted(value)}")
    return ObjectFinalized(bucket, name, generation)


def _text(fields: Mapping[str, Any], key: str) -> str:
    value = fields.get(key)
    if not isinstance(value, str) or not value:
        raise InvalidEvent(f"{key} must be a non-empty string, got {quoted(value)}")
    return value


def _metadata(resource: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return an object's custom metadata, which storage omits if there are none. None if they are malformed."""
    metadata = resource.get("metadata", {})
    return metadata if isinstance(metadata, dict) else None


def _metadata_of_notification(data: bytes) -> Mapping[str, Any] | None:
    """Return the object's metadata, or None if the notification was configured without a payload."""
    try:
        return _metadata(_object(parse_json(data), "notification payload"))
    except InvalidEvent:
        return None


def _object(value: object, label: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise InvalidEvent(f"{label} must be a JSON object, got {quoted(value)}")
    return value


def _decode_base64(value: object, label: str) -> bytes:
    if not isinstance(value, str):
        raise InvalidEvent(f"{label} must be a base64 string, got {quoted(value)}")
    try:
        return base64.b64decode(value, validate=True)
    except ValueError as error:  # binascii.Error is one
        raise InvalidEvent(f"{label} must be valid base64") from error


def _event_id(value: object) -> str:
    return value[:_MAX_EVENT_ID_CHARACTERS] if isinstance(value, str) else ""


def _time(value: object) -> datetime | None:
    """Parse an RFC 3339 time, as UTC if it has no offset. Return None if it is malformed: only the age uses it."""
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return time.replace(tzinfo=UTC) if time and time.tzinfo is None else time
