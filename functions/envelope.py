"""Opens whatever the platform posts: bytes and headers to an Event. Pure; knows nothing of tenants and images.

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
import binascii
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from shared.errors import Ignored, InvalidEvent
from shared.events import FIELDS, Event, ImageMessage, ObjectFinalized, parse_json
from shared.names import parse_generation

STORAGE_FINALIZED: Final = "google.cloud.storage.object.v1.finalized"
MESSAGE_PUBLISHED: Final = "google.cloud.pubsub.topic.v1.messagePublished"

_STORAGE: Final = "google.cloud.storage.object.v1."
_UNWRAPPED_ID: Final = "x-goog-pubsub-message-id"
_NOTIFICATION: Final = ("eventType", "bucketId", "objectId", "objectGeneration")


def parse(headers: Mapping[str, str], body: bytes) -> Event:
    """Open an envelope. `headers` have lower-case names.

    Raises:
        InvalidEvent: it is none of the above, or broken.
        Ignored: it tells of something other than a finished object or a message.
    """
    if headers.get("content-type", "").lower().startswith("application/cloudevents+json"):
        return _parse_structured(body)
    if "ce-type" in headers:
        data = parse_json(body)
        return _parse_cloud_event(headers["ce-type"], headers.get("ce-id"), headers.get("ce-time"), data)
    if _UNWRAPPED_ID in headers:
        return _parse_unwrapped(headers, body)
    return _parse_wrapped(parse_json(body))


def _parse_structured(body: bytes) -> Event:
    event = _object(parse_json(body), "The CloudEvent")
    data = event.get("data")
    if "data_base64" in event:
        data = parse_json(_unbase64(event["data_base64"]))
    return _parse_cloud_event(event.get("type"), event.get("id"), event.get("time"), data)


def _parse_cloud_event(kind: object, event_id: object, time: object, data: object) -> Event:
    if kind == STORAGE_FINALIZED:
        resource = _object(data, "The event's data")
        what = _finalized(resource.get("bucket"), resource.get("name"), resource.get("generation"))
        return Event(replace(what, metadata=_metadata(resource)), _id(event_id), _time(time))
    if kind == MESSAGE_PUBLISHED:
        return _parse_wrapped(data, event_id)
    if isinstance(kind, str) and kind.startswith(_STORAGE):
        raise Ignored("The event does not tell of a finished object")
    raise InvalidEvent("The event is of a type that is not served")


def _parse_wrapped(body: object, event_id: object = None) -> Event:
    message = _object(_object(body, "The envelope").get("message"), "The envelope's message")
    attributes = message.get("attributes") or {}
    if not isinstance(attributes, dict) or not all(isinstance(each, str) for each in attributes.values()):
        raise InvalidEvent("The message's attributes are not texts")
    message_id = message.get("messageId", message.get("message_id", event_id))
    time = message.get("publishTime", message.get("publish_time"))
    data = message.get("data")
    return _message(attributes, b"" if data is None else _unbase64(data), message_id, time)


def _parse_unwrapped(headers: Mapping[str, str], body: bytes) -> Event:
    """Attributes come as headers of their own name; servers may turn `_` into `-`, and drop case."""
    names = (*FIELDS, *_NOTIFICATION)
    spelled = {name: (name.lower(), name.lower().replace("_", "-")) for name in names}
    attributes = {name: headers[key] for name, keys in spelled.items() for key in keys if key in headers}
    return _message(attributes, body, headers[_UNWRAPPED_ID], headers.get("x-goog-pubsub-publish-time"))


def _message(attributes: Mapping[str, str], data: bytes, message_id: object, time: object) -> Event:
    if "eventType" not in attributes:
        return Event(ImageMessage(attributes, data), _id(message_id), _time(time))
    if attributes["eventType"] != "OBJECT_FINALIZE":
        raise Ignored("The notification does not tell of a finished object")
    what = _finalized(*(attributes.get(name) for name in _NOTIFICATION[1:]))
    return Event(replace(what, metadata=_metadata_of_payload(data)), _id(message_id), _time(time))


def _finalized(bucket: object, name: object, generation: object) -> ObjectFinalized:
    if not isinstance(bucket, str) or not isinstance(name, str) or not bucket or not name:
        raise InvalidEvent("The event names no object")
    number = parse_generation(generation)
    if number is None:
        raise InvalidEvent("The event names no generation of its object")
    return ObjectFinalized(bucket, name, number)


def _metadata(resource: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """An object's own metadata; storage leaves the key out where there are none."""
    metadata = resource.get("metadata", {})
    return metadata if isinstance(metadata, dict) else None


def _metadata_of_payload(data: bytes) -> Mapping[str, Any] | None:
    """A notification may come without the object's resource, and nothing else depends on it."""
    try:
        return _metadata(_object(parse_json(data), "The notification's payload"))
    except InvalidEvent:
        return None


def _object(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise InvalidEvent(f"{what} is not a JSON object")
    return value


def _unbase64(value: object) -> bytes:
    try:
        return base64.b64decode(value, validate=True) if isinstance(value, str) else _not_base64()
    except (binascii.Error, ValueError) as error:
        raise InvalidEvent("The data is not base64") from error


def _not_base64() -> bytes:
    raise ValueError


def _id(value: object) -> str:
    return value[:256] if isinstance(value, str) else ""


def _time(value: object) -> datetime | None:
    """When it happened, or None where that is not said in a way one can read: nothing depends on it but age."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if moment and moment.tzinfo is None else moment
