"""Arbitrary posts: a verdict, an error message for each rejection, and no trace of the sender's token."""

import json
import string
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from functions.envelope import MESSAGE_PUBLISHED, STORAGE_FINALIZED
from testing import models
from testing.cloud import Cloud
from testing.pictures import picture
from testing.recorded_events import encode_base64
from testing.serving import ReadLogLines, ServeFunction

SENDER = "ya29.a-token-of-the-sender"
VERDICTS = {"done", "duplicate", "ignored", "rejected"}  # deferred cannot happen: nothing fails

ODD: st.SearchStrategy[Any] = st.sampled_from(
    [
        *(
            None,
            True,
            False,
            0,
            -1,
            1.0,
            300.0,
            1e308,
            10**30,
            -(10**400),
            "",
            " ",
            "\0",
            "\ud800",
            "\u202e",
            "'\";--",
        ),
        *("a" * 3000, "ü", "uploads/tenant-001/a.png", "a.png", "tenant-001", "../a.png", [], [[]], {}, {"": {}}),
        *(
            "detect",
            "segment",
            "OBJECT_FINALIZE",
            "2026-11-20T08:00:00Z",
            "1",
            "9" * 5000,
            "data:,x",
            "=?utf-8?q?x?=",
        ),
    ]
)
OPTIONS = st.dictionaries(
    st.sampled_from(["confidence_threshold", "labels", "max_detections", "iou_threshold", "slice_size", "", "x"]),
    ODD | st.floats() | st.lists(ODD, max_size=3) | st.dictionaries(st.text(max_size=3), ODD, max_size=2),
    max_size=3,
)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "tenant_id": st.sampled_from(["tenant-001", "tenant-001", "tenant-002"]) | ODD,
        "image": st.sampled_from(["a.png", "a.png", "gone.png"]) | ODD,
        "pipeline": st.sampled_from(["detect", "count", "classify"]) | ODD,
        "generation": ODD | st.integers(),
        "request_id": ODD | st.text(max_size=8),
        "options": OPTIONS | ODD,
    },
)
DEEP = st.sampled_from([b"[" * 100_000, b'{"a":' * 50_000, b'{"message":' * 990 + b"1" + b"}" * 990])
BAD = st.sampled_from(
    [
        b'{"message": {"data": 1e999}}',
        b'{"message": ' + b"7" * 5000 + b"}",
        b'{"message": -Infinity}',
        b'{"message": {"messageId": "a"}, "message": {"messageId": "b", "attributes": {"tenant_id": "\\ud800"}}}',
        b'\xef\xbb\xbf{"message": {}}',
        '{"message": {}}'.encode("utf-16"),
        b'{"message": {"attributes": {"eventType": "OBJECT_FINALIZE", "objectGeneration": "\\u0661"}}}',
        b"\x80" * 40,
        b"null",
        b'"\\ud834"',
        b"{}" * 3,
    ]
)


def text(value: Any) -> bytes:
    """Encode as JSON, with NaN and lone surrogates."""
    return json.dumps(value).encode()


KINDS = st.sampled_from([STORAGE_FINALIZED, MESSAGE_PUBLISHED])
NESTING = st.sampled_from(["message", "data"])
BODIES = st.one_of(
    FIELDS.map(lambda fields: text({"message": {"data": encode_base64(json.dumps(fields)), "messageId": "m"}})),
    FIELDS.map(lambda fields: text({"message": {"attributes": fields, "messageId": "m"}})),
    FIELDS.map(
        lambda fields: text({"message": {"attributes": {name: str(each) for name, each in fields.items()}}})
    ),
    FIELDS.map(text),
    st.fixed_dictionaries(
        {"type": st.sampled_from([STORAGE_FINALIZED, MESSAGE_PUBLISHED]) | ODD, "data": ODD}
    ).map(text),
    st.fixed_dictionaries({"data": ODD, "messageId": ODD}).map(lambda message: text({"message": message})),
    st.fixed_dictionaries({"bucket": ODD, "name": ODD, "generation": ODD}).map(text),
    st.recursive(ODD, lambda inner: st.dictionaries(st.sampled_from(["message", "data"]), inner, max_size=2)).map(
        text
    ),
    st.binary(max_size=40),
    DEEP,
    BAD,
)
VALUES = st.sampled_from(
    ["", "1", "x" * 9000, "caf\xe9", "\xff", "%00", 'a,b;c="d', STORAGE_FINALIZED, MESSAGE_PUBLISHED, "tenant-001"]
) | st.text(
    string.printable.replace("\r", "").replace("\n", "").replace("\x0b", "").replace("\x0c", ""), max_size=8
)
HEADERS = st.dictionaries(
    st.sampled_from(
        [
            *("ce-type", "ce-id", "ce-time", "ce-specversion", "x-goog-pubsub-message-id", "tenant-id", "image"),
            *("traceparent", "x-cloud-trace-context", "eventtype", "bucketid", "x-goog-pubsub-publish-time"),
            *("accept", "cookie", "x-forwarded-for", "function-execution-id", "content-encoding", "generation"),
        ]
    ),
    VALUES,
    max_size=5,
)
TYPES = st.sampled_from(
    [
        *(
            "application/json",
            "application/cloudevents+json",
            "application/CloudEvents+JSON; charset=x",
            "",
            "text",
        ),
        *(
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "multipart/form-data",
            "\xff/\xff",
        ),
        "application/cloudevents-batch+json",
    ]
)


@pytest.fixture
def shop(cloud: Cloud) -> Cloud:
    """Store a model and an image of one tenant."""
    cloud.put_model("tenant-001", models.detect())
    cloud.put_image("tenant-001", "a.png", picture(kind="PNG"))
    return cloud


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from(["", "x/../..", "%00"]),
    headers=HEADERS,
    kind=TYPES,
    body=BODIES,
)
def test_any_post_ends_in_a_verdict_and_each_rejection_is_published(
    path: str,
    headers: Mapping[str, str],
    kind: str,
    body: bytes,
    instance: tuple[FlaskClient, ReadLogLines, list[tuple[str, str]]],
) -> None:
    client, lines, rejections = instance
    headers = {**headers, "content-type": kind, "authorization": f"Bearer {SENDER}"}
    answer = client.post(f"/{path}", headers=headers, data=body)
    assert answer.status_code == 200, answer.text
    assert answer.text.strip() in VERDICTS
    written = lines()
    assert len(written.summaries) == 1
    assert written.all == written.summaries, "a bug was reported"
    assert SENDER not in str(written.all) + str(answer.headers) + answer.text
    [summary] = written.summaries
    assert summary["verdict"] == answer.text.strip()
    if summary["verdict"] == "rejected":
        rejections.append((str(summary["status"]), summary["error"]))


@pytest.fixture
def instance(
    shop: Cloud, serve: ServeFunction, lines: ReadLogLines
) -> Iterator[tuple[FlaskClient, ReadLogLines, list[tuple[str, str]]]]:
    """Serve process_message, and compare the published errors with the rejections at the end."""
    rejections: list[tuple[str, str]] = []
    yield serve("process_message", shop.settings), lines, rejections
    published = shop.errors(len(rejections))
    assert sorted((each["status"], each["error"]) for each, _ in published) == sorted(rejections)
    assert rejections
    assert SENDER not in str(published)
    assert {status for status, _ in rejections} <= {"400", "403", "404"}, rejections


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=FIELDS.map(text) | DEEP | BAD | st.binary(max_size=40), kind=TYPES)
def test_any_http_request_gets_a_result_or_a_problem(
    body: bytes, kind: str, caller: tuple[FlaskClient, ReadLogLines]
) -> None:
    client, lines = caller
    answer = client.post("/", headers={"content-type": kind, "authorization": f"Bearer {SENDER}"}, data=body)
    assert answer.status_code in {200, 400, 403, 404, 409}, answer.text
    assert ("schema_version" if answer.status_code == 200 else "error") in (answer.json or {})
    written = lines()
    assert written.all == written.summaries, "a bug was reported"
    assert SENDER not in str(written.all) + str(answer.headers) + answer.text


@pytest.fixture
def caller(shop: Cloud, serve: ServeFunction, lines: ReadLogLines) -> tuple[FlaskClient, ReadLogLines]:
    return serve("process_request", shop.settings), lines
