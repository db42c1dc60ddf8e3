"""What Pub/Sub pushes -> what Eventarc posts to a 2nd gen function. Pure: bytes in, headers and bytes out.

Sources: the CloudEvents 1.0 HTTP protocol binding (binary content mode), and Eventarc's "Event format" pages
for Cloud Storage direct events and Pub/Sub.
"""

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

FINALIZED = "google.cloud.storage.object.v1.finalized"
PUBLISHED = "google.cloud.pubsub.topic.v1.messagePublished"
NUMBERS_SENT_AS_STRINGS = ("generation", "metageneration", "size")
PRINTABLE_ASCII = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')


class InvalidPushError(ValueError):
    """The body is not what a Pub/Sub push or a storage notification looks like."""


@dataclass(frozen=True)
class CloudEvent:
    """A CloudEvent in binary mode."""

    headers: dict[str, str]
    body: bytes


def upload_event(push: bytes) -> CloudEvent | None:
    """A storage notification in a push -> the finalized event. None for any other kind of notification."""
    message = _push(push)["message"]
    attributes = message.get("attributes", {})
    try:
        event_type, bucket, name = (attributes[key] for key in ("eventType", "bucketId", "objectId"))
    except KeyError as error:
        raise InvalidPushError(f"a storage notification has the attribute {error}") from error
    if event_type != "OBJECT_FINALIZE":
        return None
    resource = _resource(message.get("data", ""))
    resource |= {"kind": "storage#object", "bucket": bucket, "name": name}
    resource.setdefault("generation", attributes.get("objectGeneration", "0"))
    resource.setdefault("metageneration", "1")
    for key in NUMBERS_SENT_AS_STRINGS:
        if key in resource:
            resource[key] = str(resource[key])
    resource["id"] = f"{bucket}/{name}/{resource['generation']}"
    headers = _headers(
        event_id=message["messageId"],
        event_type=FINALIZED,
        source=f"//storage.googleapis.com/projects/_/buckets/{bucket}",
        time=attributes.get("eventTime") or message["publishTime"],
    )
    headers |= {"ce-subject": _header_value(f"objects/{name}"), "ce-bucket": bucket}
    return CloudEvent(headers, json.dumps(resource).encode())


def message_event(push: bytes, topic: str) -> CloudEvent:
    """A push of a message of `topic` (`projects/P/topics/T`) -> the messagePublished event."""
    body = _push(push)
    message = body["message"]
    body["message"] = message | {"message_id": message["messageId"], "publish_time": message["publishTime"]}
    headers = _headers(
        event_id=message["messageId"],
        event_type=PUBLISHED,
        source=f"//pubsub.googleapis.com/{topic}",
        time=message["publishTime"],
    )
    return CloudEvent(headers, json.dumps(body).encode())


def _push(body: bytes) -> dict[str, Any]:
    """The push with messageId and publishTime in place, which some senders only give in snake case."""
    try:
        push = json.loads(body)
    except ValueError as error:
        raise InvalidPushError(f"a push is JSON: {error}") from error
    message = push.get("message") if isinstance(push, dict) else None
    if not isinstance(message, dict):
        raise InvalidPushError("a push is an object with a message")
    for camel, snake in (("messageId", "message_id"), ("publishTime", "publish_time")):
        value = message.get(camel) or message.get(snake)
        if not isinstance(value, str):
            raise InvalidPushError(f"a message has a {camel}")
        message[camel] = value
    if not isinstance(message.get("attributes", {}), dict):
        raise InvalidPushError("attributes are an object")
    return dict(push)


def _resource(data: str) -> dict[str, Any]:
    """The object resource that a notification carries; none with payload format NONE."""
    if not data:
        return {}
    try:
        resource = json.loads(base64.b64decode(data, validate=True))
    except (binascii.Error, ValueError, TypeError) as error:
        raise InvalidPushError(f"a notification carries the object's resource: {error}") from error
    if not isinstance(resource, dict):
        raise InvalidPushError("an object's resource is an object")
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
    """Percent-encoded as the HTTP binding says (3.1.3.2): space, quote, percent and all but ASCII."""
    return quote(text, safe=PRINTABLE_ASCII)
