"""Converts Pub/Sub pushes to the CloudEvents that Eventarc posts to a function.

The formats are those of the CloudEvents 1.0 HTTP protocol binding in binary content mode
(https://github.com/cloudevents/spec/blob/v1.0/http-protocol-binding.md) and of Eventarc's events for Cloud Storage
and Pub/Sub (https://cloud.google.com/eventarc/docs/event-format).
"""

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

FINALIZED_EVENT_TYPE = "google.cloud.storage.object.v1.finalized"
PUBLISHED_EVENT_TYPE = "google.cloud.pubsub.topic.v1.messagePublished"
INT64_FIELDS = ("generation", "metageneration", "size")  # strings in the JSON form of protobuf
UNESCAPED_CHARACTERS = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')


class InvalidPushError(ValueError):
    """The body is not a Pub/Sub push, or its message is not a storage notification."""


@dataclass(frozen=True)
class CloudEvent:
    """The HTTP headers and body of a CloudEvent in binary content mode."""

    headers: dict[str, str]
    body: bytes


def upload_event(push: bytes) -> CloudEvent | None:
    """Convert a push of a storage notification to the finalized event.

    Returns:
        The event, or None if the notification is of another type than OBJECT_FINALIZE.
    """
    message = _parse_push(push)["message"]
    attributes = message.get("attributes", {})
    try:
        event_type, bucket, name = (attributes[key] for key in ("eventType", "bucketId", "objectId"))
    except KeyError as error:
        raise InvalidPushError(f"the storage notification has no attribute {error}") from error
    if event_type != "OBJECT_FINALIZE":
        return None
    resource = _decode_resource(message.get("data", ""))
    resource |= {"kind": "storage#object", "bucket": bucket, "name": name}
    resource.setdefault("generation", attributes.get("objectGeneration", "0"))
    resource.setdefault("metageneration", "1")
    for key in INT64_FIELDS:
        if key in resource:
            resource[key] = str(resource[key])
    resource["id"] = f"{bucket}/{name}/{resource['generation']}"
    headers = _headers(
        event_id=message["messageId"],
        event_type=FINALIZED_EVENT_TYPE,
        source=f"//storage.googleapis.com/projects/_/buckets/{bucket}",
        time=attributes.get("eventTime") or message["publishTime"],
    )
    headers |= {"ce-subject": _header_value(f"objects/{name}"), "ce-bucket": bucket}
    return CloudEvent(headers, json.dumps(resource).encode())


def message_event(push: bytes, topic: str) -> CloudEvent:
    """Convert a push of a message of `topic` (`projects/P/topics/T`) to the messagePublished event."""
    body = _parse_push(push)
    message = body["message"]
    body["message"] = message | {"message_id": message["messageId"], "publish_time": message["publishTime"]}
    headers = _headers(
        event_id=message["messageId"],
        event_type=PUBLISHED_EVENT_TYPE,
        source=f"//pubsub.googleapis.com/{topic}",
        time=message["publishTime"],
    )
    return CloudEvent(headers, json.dumps(body).encode())


def _parse_push(body: bytes) -> dict[str, Any]:
    """Parse a push, and set messageId and publishTime, which some emulators send in snake case only."""
    try:
        push = json.loads(body)
    except ValueError as error:
        raise InvalidPushError(f"the push is not valid JSON: {error}") from error
    message = push.get("message") if isinstance(push, dict) else None
    if not isinstance(message, dict):
        raise InvalidPushError("the push is not a JSON object with an object `message`")
    for camel, snake in (("messageId", "message_id"), ("publishTime", "publish_time")):
        value = message.get(camel) or message.get(snake)
        if not isinstance(value, str):
            raise InvalidPushError(f"the message has no string {camel}")
        message[camel] = value
    if not isinstance(message.get("attributes", {}), dict):
        raise InvalidPushError("the message's attributes are not a JSON object")
    return dict(push)


def _decode_resource(data: str) -> dict[str, Any]:
    """Decode the object resource of a notification; it is empty with payload format NONE."""
    if not data:
        return {}
    try:
        resource = json.loads(base64.b64decode(data, validate=True))
    except (binascii.Error, ValueError, TypeError) as error:
        raise InvalidPushError(f"the notification's data is not a JSON object in base64: {error}") from error
    if not isinstance(resource, dict):
        raise InvalidPushError("the notification's data is not a JSON object")
    return resource


def _headers(*, event_id: str, event_type: str, source: str, time: str) -> dict[str, str]:
    return {
        "content-type": "application/json",
        "ce-specversion": "1.0",
        "ce-id": event_id,
        "ce-type": event_type,
        "ce-source": _header_value(source),
        "ce-time": time,
    }


def _header_value(text: str) -> str:
    """Percent-encode space, quote, percent and all but printable ASCII (section 3.1.3.2 of the HTTP binding)."""
    return quote(text, safe=UNESCAPED_CHARACTERS)
