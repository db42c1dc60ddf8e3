"""The exact HTTP requests of wrapped and unwrapped pushes."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from google.pubsub_v1 import types

from pubsub_emulator.backlog import Delivery
from pubsub_emulator.message import Message
from pubsub_emulator.push import encode_request, wrapped_body
from pubsub_emulator.subscription import Push

NAME = "projects/p/subscriptions/sub"
PUBLISHED = datetime(2026, 2, 3, 4, 5, 6, 789_999, tzinfo=UTC)
TIME = "2026-02-03T04:05:06.789Z"


def push(
    data: bytes = b"",
    attributes: dict[str, str] | None = None,
    *,
    key: str = "",
    attempt: int = 0,
    url: str = "http://127.0.0.1:8080/path?q=1",
    timeout_s: float = 10,
    **settings: Any,
) -> Push:
    message = Message("17", PUBLISHED, data, attributes or {}, key)
    config = types.PushConfig(push_endpoint=url, **settings)
    return Push(Delivery(f"{NAME}:17:1", message, attempt), NAME, config, timeout_s)


@pytest.mark.parametrize(
    ("given", "fields", "others"),
    [
        (push(attributes={"k": "v"}), {"attributes": {"k": "v"}}, {}),
        (push(b"hello"), {"data": "aGVsbG8="}, {}),
        (push(b"hello", {"k": "v"}), {"data": "aGVsbG8=", "attributes": {"k": "v"}}, {}),
        (push(b"hello", key="a"), {"data": "aGVsbG8=", "orderingKey": "a"}, {}),
        (push(b"hello", attempt=3), {"data": "aGVsbG8="}, {"deliveryAttempt": 3}),
    ],
)
def test_wrapped_push_has_all_nonempty_fields(given: Push, fields: dict[str, Any], others: dict[str, int]) -> None:
    common = {"messageId": "17", "message_id": "17", "publishTime": TIME, "publish_time": TIME}
    assert json.loads(wrapped_body(given)) == {"message": common | fields, "subscription": NAME} | others


def parse_request(given: Push) -> tuple[str, dict[str, str], bytes]:
    """Return the request line, the headers and the body."""
    head, _, content = encode_request(given).partition(b"\r\n\r\n")
    first, *rest = head.decode().split("\r\n")
    return first, dict(line.split(": ", 1) for line in rest), content


def test_wrapped_push_is_posted_as_json() -> None:
    first, headers, content = parse_request(push(b"hello"))
    assert first == "POST /path?q=1 HTTP/1.1"
    assert headers["Host"] == "127.0.0.1:8080"
    assert headers["Content-Type"] == "application/json"
    assert headers["Content-Length"] == str(len(content))
    assert json.loads(content)["message"]["messageId"] == "17"


def test_unwrapped_push_is_the_data_without_metadata() -> None:
    _, headers, content = parse_request(
        push(b"\x00\r\n\r\n\xff", {"k": "v"}, no_wrapper={"write_metadata": False})
    )
    assert content == b"\x00\r\n\r\n\xff"
    assert set(headers) == {"Host", "User-Agent", "Accept", "Content-Length", "Connection"}


def test_unwrapped_push_writes_metadata_and_attributes_to_headers() -> None:
    given = push(
        b"{}", {"Content-Type": "application/json", "k": "v"}, key="a", no_wrapper={"write_metadata": True}
    )
    _, headers, content = parse_request(given)
    assert content == b"{}"
    assert headers["Content-Type"] == "application/json"
    assert headers["k"] == "v"
    assert {name: value for name, value in headers.items() if name.startswith("x-goog-pubsub-")} == {
        "x-goog-pubsub-subscription-name": NAME,
        "x-goog-pubsub-message-id": "17",
        "x-goog-pubsub-publish-time": TIME,
        "x-goog-pubsub-ordering-key": "a",
    }


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("k", "v\r\nx-goog-pubsub-message-id: 18"),
        ("k: v\r\nx", "y"),
        ("a key", "v"),
        ("X-Goog-Pubsub-Message-Id", "18"),
        ("Content-Length", "0"),
        ("Transfer-Encoding", "chunked"),
        ("Host", "elsewhere"),
    ],
)
def test_attribute_unfit_for_a_header_is_omitted(key: str, value: str) -> None:
    given = push(b"x", {key: value}, no_wrapper={"write_metadata": True})
    assert encode_request(given) == encode_request(push(b"x", no_wrapper={"write_metadata": True}))


@pytest.mark.parametrize(
    ("url", "host", "target"),
    [
        ("http://127.0.0.1:8080", "127.0.0.1:8080", "/"),
        ("http://127.0.0.1:8080?a=b", "127.0.0.1:8080", "/?a=b"),
        ("https://user:secret@example.com/a/b", "example.com", "/a/b"),
    ],
)
def test_endpoint_url_becomes_host_and_request_target(url: str, host: str, target: str) -> None:
    first, headers, _ = parse_request(push(b"x", url=url))
    assert first == f"POST {target} HTTP/1.1"
    assert headers["Host"] == host
