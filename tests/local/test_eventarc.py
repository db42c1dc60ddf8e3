"""Pub/Sub pushes and the CloudEvents that Eventarc makes of them."""

import base64
import json
from typing import Any

import pytest

from local.eventarc import CloudEvent, InvalidPushError, message_event, upload_event

TOPIC = "projects/p/topics/images"


def push(message: object, **others: object) -> bytes:
    return json.dumps({"message": message, "subscription": "projects/p/subscriptions/s", **others}).encode()


def b64(value: object) -> str:
    return base64.b64encode(json.dumps(value).encode()).decode()


def notification(
    name: str = "uploads/t/a.jpg",
    event_type: str = "OBJECT_FINALIZE",
    resource: dict[str, Any] | None = None,
    **attributes: str,
) -> bytes:
    """Return a push of a storage notification."""
    message: dict[str, Any] = {
        "messageId": "17",
        "publishTime": "2026-01-02T03:04:06.5Z",
        "attributes": {
            "eventType": event_type,
            "bucketId": "up",
            "objectId": name,
            "objectGeneration": "1700000000000001",
            "eventTime": "2026-01-02T03:04:05Z",
            **attributes,
        },
    }
    if resource is not None:
        message["data"] = b64(resource)
    return push(message)


def finalized_event(push: bytes) -> CloudEvent:
    """Convert a push that must give an event."""
    event = upload_event(push)
    assert event is not None
    return event


def test_notification_becomes_finalized_event() -> None:
    resource = {"name": "uploads/t/a.jpg", "bucket": "up", "generation": 1700000000000001, "size": 5}
    event = finalized_event(notification(resource=resource))
    assert event.headers == {
        "content-type": "application/json",
        "ce-specversion": "1.0",
        "ce-id": "17",
        "ce-type": "google.cloud.storage.object.v1.finalized",
        "ce-source": "//storage.googleapis.com/projects/_/buckets/up",
        "ce-subject": "objects/uploads/t/a.jpg",
        "ce-time": "2026-01-02T03:04:05Z",
        "ce-bucket": "up",
    }
    assert json.loads(event.body) == {
        "kind": "storage#object",
        "id": "up/uploads/t/a.jpg/1700000000000001",
        "name": "uploads/t/a.jpg",
        "bucket": "up",
        "generation": "1700000000000001",
        "metageneration": "1",
        "size": "5",
    }


def test_notification_without_resource_uses_attributes() -> None:
    body = json.loads(finalized_event(notification()).body)
    assert (body["bucket"], body["name"], body["generation"]) == ("up", "uploads/t/a.jpg", "1700000000000001")


@pytest.mark.parametrize("event_type", ["OBJECT_DELETE", "OBJECT_METADATA_UPDATE", "OBJECT_ARCHIVE"])
def test_other_notification_types_give_no_event(event_type: str) -> None:
    assert upload_event(notification(event_type=event_type)) is None


@pytest.mark.parametrize(
    ("name", "subject"),
    [
        ("uploads/t/a b.jpg", "objects/uploads/t/a%20b.jpg"),
        ("uploads/t/é.jpg", "objects/uploads/t/%C3%A9.jpg"),
        ('uploads/t/"50%".jpg', "objects/uploads/t/%2250%25%22.jpg"),
        ("uploads/t/a\r\nce-type: x", "objects/uploads/t/a%0D%0Ace-type:%20x"),
    ],
)
def test_object_name_is_percent_encoded_in_subject_only(name: str, subject: str) -> None:
    event = finalized_event(notification(name))
    assert event.headers["ce-subject"] == subject
    assert json.loads(event.body)["name"] == name


def test_message_becomes_published_event() -> None:
    message = {
        "data": "aGk=",
        "attributes": {"tenant_id": "t"},
        "messageId": "18",
        "publishTime": "2026-01-02T03:04:05.678Z",
        "orderingKey": "k",
    }
    event = message_event(push(message, deliveryAttempt=2), TOPIC)
    assert event.headers == {
        "content-type": "application/json",
        "ce-specversion": "1.0",
        "ce-id": "18",
        "ce-type": "google.cloud.pubsub.topic.v1.messagePublished",
        "ce-source": "//pubsub.googleapis.com/projects/p/topics/images",
        "ce-time": "2026-01-02T03:04:05.678Z",
    }
    assert json.loads(event.body) == {
        "message": message | {"message_id": "18", "publish_time": "2026-01-02T03:04:05.678Z"},
        "subscription": "projects/p/subscriptions/s",
        "deliveryAttempt": 2,
    }


def test_message_without_data_gives_event_without_data() -> None:
    event = message_event(push({"messageId": "1", "publishTime": "x", "attributes": {"a": "b"}}), TOPIC)
    assert "data" not in json.loads(event.body)["message"]


def test_push_with_snake_case_ids_only_is_accepted() -> None:
    event = message_event(push({"message_id": "1", "publish_time": "x"}), TOPIC)
    assert (event.headers["ce-id"], event.headers["ce-time"]) == ("1", "x")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b"\xff",
        b'{"message": 1}',
        b'{"message": {}}',
        b'{"message": {"messageId": 1, "publishTime": "x"}}',
        b'{"message": {"messageId": "1", "publishTime": "x", "attributes": []}}',
    ],
)
def test_invalid_push_is_rejected(body: bytes) -> None:
    for event in (upload_event, lambda push: message_event(push, TOPIC)):
        with pytest.raises(InvalidPushError):
            event(body)


@pytest.mark.parametrize("data", ["not base64!", "e30", b64([]), 5])
def test_notification_with_invalid_resource_is_rejected(data: Any) -> None:
    body = json.loads(notification())
    body["message"]["data"] = data
    with pytest.raises(InvalidPushError):
        upload_event(json.dumps(body).encode())
