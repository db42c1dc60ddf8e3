"""Envelopes to events: the cases that tests/events does not have, and malformed envelopes."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions import envelope
from shared.errors import Ignored, InvalidEvent
from shared.events import Event, ImageMessage, ObjectFinalized
from testing.case_ids import case_id
from testing.recorded_events import encode_base64

STORAGE = "google.cloud.storage.object.v1.finalized"
PUBSUB = "google.cloud.pubsub.topic.v1.messagePublished"


def finalized(headers: Mapping[str, str] | None = None, **data: Any) -> Event:
    body = json.dumps({"bucket": "b", "name": "n", "generation": "1"} | data).encode()
    return envelope.parse({"ce-type": STORAGE} | dict(headers or {}), body)


def wrapped(**message: Any) -> Event:
    return envelope.parse({}, json.dumps({"message": message}).encode())


@pytest.mark.parametrize("generation", ["1", 1, "1795380285104925", 1795380285104925, str(2**63 - 1)])
def test_generation_may_be_a_string_or_a_number(generation: Any) -> None:
    assert finalized(generation=generation).payload == ObjectFinalized("b", "n", int(generation), {})


@pytest.mark.parametrize(
    "generation",
    ["", "0", 0, -1, "-1", "1.0", 1.5, "1e3", " 1", "+1", "\u0661", "x", None, True, [], {}, 2**63, "9" * 30],
    ids=case_id,
)
def test_invalid_generation_is_rejected(generation: Any) -> None:
    with pytest.raises(InvalidEvent):
        finalized(generation=generation)


@pytest.mark.parametrize("key", ["bucket", "name"])
@pytest.mark.parametrize("value", ["", None, 5, [], {}, True], ids=case_id)
def test_object_without_bucket_or_name_is_rejected(key: str, value: Any) -> None:
    with pytest.raises(InvalidEvent):
        finalized(**{key: value})


def test_bucket_and_name_come_from_the_data_not_from_headers() -> None:
    event = finalized({"ce-subject": "objects/other", "ce-bucket": "other"})
    assert event.payload == ObjectFinalized("b", "n", 1, {})


NOTIFICATION = {"eventType": "OBJECT_FINALIZE", "bucketId": "b", "objectId": "n", "objectGeneration": "1"}
RESOURCES = {
    "no resource": (b"", None),
    "no JSON": (b"{", None),
    "no object": (b"[]", None),
    "no metadata": (b"{}", {}),
    "some metadata": (b'{"metadata": {"k": "v"}}', {"k": "v"}),
    "metadata that are none": (b'{"metadata": ["k"]}', None),
}


@pytest.mark.parametrize("case", RESOURCES)
def test_metadata_come_with_the_object_resource_or_are_none(case: str) -> None:
    data, metadata = RESOURCES[case]
    expected = ObjectFinalized("b", "n", 1, metadata)
    assert wrapped(attributes=NOTIFICATION, data=encode_base64(data.decode())).payload == expected
    headers = {name.lower(): value for name, value in NOTIFICATION.items()}
    assert envelope.parse(headers | {"x-goog-pubsub-message-id": "7"}, data).payload == expected
    if data.startswith(b"{") and data.endswith(b"}"):
        assert finalized(**json.loads(data)).payload == expected


@pytest.mark.parametrize("kind", ["deleted", "archived", "metadataUpdated"])
def test_storage_events_of_other_types_are_ignored(kind: str) -> None:
    with pytest.raises(Ignored):
        envelope.parse({"ce-type": f"google.cloud.storage.object.v1.{kind}"}, b"{}")


@pytest.mark.parametrize(
    "kind", ["OBJECT_DELETE", "OBJECT_ARCHIVE", "OBJECT_METADATA_UPDATE", "", "object_finalize"]
)
def test_notifications_of_other_types_are_ignored(kind: str) -> None:
    with pytest.raises(Ignored):
        wrapped(attributes={"eventType": kind})


@pytest.mark.parametrize(
    ("message", "attributes", "body"),
    [
        ({}, {}, b""),
        ({"attributes": None, "data": None}, {}, b""),
        ({"attributes": {}, "data": ""}, {}, b""),
        ({"attributes": {"a": "b"}}, {"a": "b"}, b""),
        ({"data": "aGk="}, {}, b"hi"),
    ],
    ids=case_id,
)
def test_message_without_attributes_or_data_is_accepted(
    message: dict[str, Any], attributes: Any, body: bytes
) -> None:
    assert wrapped(**message).payload == ImageMessage(attributes, body)


@pytest.mark.parametrize(
    "attributes", [[1], "a", 5, {"tenant_id": 1}, {"x": None}, {"x": []}, {"x": {}}], ids=case_id
)
def test_attributes_that_are_not_strings_are_rejected(attributes: Any) -> None:
    with pytest.raises(InvalidEvent, match="attributes"):
        wrapped(attributes=attributes)


@pytest.mark.parametrize("data", [5, [], {}, True, "a", "a===", "aGk", "aGk=\n", "a-_=", "ä"], ids=case_id)
def test_data_that_is_not_base64_is_rejected(data: Any) -> None:
    with pytest.raises(InvalidEvent):
        wrapped(data=data)


@pytest.mark.parametrize(
    ("message", "event_id"),
    [
        ({}, ""),
        ({"messageId": "1"}, "1"),
        ({"message_id": "2"}, "2"),
        ({"messageId": "1", "message_id": "2"}, "1"),
        ({"messageId": 7}, ""),
        ({"messageId": "x" * 1000}, "x" * 256),
    ],
    ids=case_id,
)
def test_event_id_is_the_message_id(message: dict[str, Any], event_id: str) -> None:
    assert wrapped(**message).event_id == event_id


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-11-20T08:04:46Z", datetime(2026, 11, 20, 8, 4, 46, tzinfo=UTC)),
        ("2026-11-20T08:04:46.5Z", datetime(2026, 11, 20, 8, 4, 46, 500_000, tzinfo=UTC)),
        ("2026-11-20T08:04:46.123456789Z", datetime(2026, 11, 20, 8, 4, 46, 123_456, tzinfo=UTC)),
        ("2026-11-20T09:04:46+01:00", datetime(2026, 11, 20, 8, 4, 46, tzinfo=UTC)),
        ("2026-11-20T08:04:46", datetime(2026, 11, 20, 8, 4, 46, tzinfo=UTC)),
        ("", None),
        ("soon", None),
        ("2026-13-20T08:04:46Z", None),
        (17, None),
        (None, None),
    ],
    ids=case_id,
)
def test_time_is_parsed_or_none(text: Any, time: datetime | None) -> None:
    assert wrapped(publishTime=text).occurred_at == time
    assert finalized({"ce-time": text} if isinstance(text, str) else {}).occurred_at in {time, None}


@pytest.mark.parametrize(
    ("headers", "fields"),
    [
        ({}, {}),
        ({"tenant_id": "t"}, {"tenant_id": "t"}),
        ({"tenant-id": "t", "request-id": "r"}, {"tenant_id": "t", "request_id": "r"}),
        ({"image": "a.jpg", "host": "h", "authorization": "Bearer x"}, {"image": "a.jpg"}),
    ],
    ids=case_id,
)
def test_attributes_of_an_unwrapped_push_are_read_from_headers(
    headers: Mapping[str, str], fields: dict[str, str]
) -> None:
    event = envelope.parse({"x-goog-pubsub-message-id": "1", **headers}, b"{}")
    assert event.payload == ImageMessage(fields, b"{}")


def test_message_id_wins_over_the_cloud_event_id() -> None:
    headers = {"ce-type": PUBSUB, "ce-id": "of-the-envelope"}
    body = {"message": {"messageId": "of-the-message"}}
    assert envelope.parse(headers, json.dumps(body).encode()).event_id == "of-the-message"
    assert envelope.parse(headers, b'{"message": {}}').event_id == "of-the-envelope"


KEYS = ("message", "attributes", "data", "data_base64", "messageId", "type", "id", "bucket", "name", "generation")
VALUES: st.SearchStrategy[Any] = st.sampled_from(
    [
        None,
        True,
        0,
        1.5,
        2**70,
        "",
        "t",
        "\ud800",
        [],
        [1],
        {},
        STORAGE,
        PUBSUB,
        encode_base64("{}"),
        encode_base64("[]"),
        "OBJECT_FINALIZE",
    ]
)
ENVELOPES = st.recursive(
    VALUES,
    lambda inner: st.dictionaries(
        st.sampled_from((*KEYS, "eventType", "bucketId", "objectId")), inner, max_size=4
    ),
    max_leaves=6,
)
HEADERS = st.sampled_from(
    [
        {},
        {"ce-type": STORAGE},
        {"ce-type": PUBSUB},
        {"content-type": "application/cloudevents+json"},
        {"x-goog-pubsub-message-id": "1"},
    ]
)


@given(HEADERS, ENVELOPES.map(lambda body: json.dumps(body).encode()) | st.binary())
def test_any_post_is_an_event_or_invalid_or_ignored(headers: Mapping[str, str], body: bytes) -> None:
    try:
        event = envelope.parse(headers, body)
    except (InvalidEvent, Ignored):
        return
    assert isinstance(event, Event)
    if isinstance(event.payload, ObjectFinalized):
        assert event.payload.bucket
        assert event.payload.name
        assert 0 < event.payload.generation < 2**63
    else:
        assert all(isinstance(each, str) for each in event.payload.attributes.values())


@pytest.mark.parametrize(
    ("headers", "body", "text"),
    [
        pytest.param(
            {"ce-type": "x\0"},
            "{}",
            rf"unsupported event type 'x\x00'; expected '{STORAGE}' or '{PUBSUB}'",
            id="unsupported type",
        ),
        pytest.param(
            {"ce-type": STORAGE},
            '{"bucket": "b", "name": "n", "generation": "x"}',
            "generation must be an integer from 1 to 2^63-1, got 'x'",
            id="invalid generation",
        ),
        pytest.param(
            {"ce-type": STORAGE}, "{}", "bucket must be a non-empty string, got null", id="missing bucket"
        ),
        pytest.param({}, "[]", "Pub/Sub envelope must be a JSON object, got an array", id="array"),
        pytest.param({}, "{", "body must be valid JSON in UTF-8", id="malformed JSON"),
        pytest.param(
            {},
            '{"message": {"attributes": {"tenant_id": 1}}}',
            "attributes must be strings, got 1 for 'tenant_id'",
            id="attribute that is a number",
        ),
        pytest.param(
            {}, '{"message": {"data": 5}}', "data must be a base64 string, got 5", id="data that is a number"
        ),
        pytest.param({}, '{"message": {"data": "%"}}', "data must be valid base64", id="malformed base64"),
    ],
)
def test_error_message_names_field_expectation_and_value(headers: dict[str, str], body: str, text: str) -> None:
    with pytest.raises(InvalidEvent) as caught:
        envelope.parse(headers, body.encode())

    assert str(caught.value) == text
