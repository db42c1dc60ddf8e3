"""ErrorTopic against the Pub/Sub emulator, and against a port without a server."""

import json
import time

import pytest

from local.port import Port
from local.stack import Stack
from shared.cloud.error_topic import ErrorTopic
from shared.errors import PublishFailed
from shared.runtime import deadline
from testing.case_ids import case_id
from testing.cloud import Cloud


@pytest.fixture
def pubsub(emulators: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have clients use the Pub/Sub emulator."""
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", emulators.pubsub_host)


@pytest.mark.parametrize(
    "attributes", [{}, {"status": "400"}, {"image": "gs://b/ü", "error": "x" * 1024}], ids=case_id
)
def test_message_arrives_unchanged(attributes: dict[str, str], cloud: Cloud, pubsub: None) -> None:
    message_id = ErrorTopic(cloud.topic).publish(attributes, b'{"message": "a sentence"}')
    assert message_id
    assert cloud.errors() == [(attributes, {"message": "a sentence"})]


def test_topic_may_be_given_by_its_name_alone(cloud: Cloud, pubsub: None) -> None:
    project, name = cloud.topic.split("/")[1::2]
    ErrorTopic(name, project=project).publish({}, json.dumps({}).encode())
    assert cloud.errors() == [({}, {})]


def test_publishing_to_a_missing_topic_fails(cloud: Cloud, pubsub: None) -> None:
    with pytest.raises(PublishFailed):
        ErrorTopic(f"{cloud.topic}-gone", timeout_s=5).publish({}, b"{}")


@pytest.mark.parametrize(
    ("attributes", "data"),
    [({"image": "x" * 1025}, b"{}"), ({}, b"x" * 11 * 2**20), ({}, b""), ({"": "x"}, b"{}")],
    ids=case_id,
)
def test_message_that_pub_sub_rejects_fails(
    attributes: dict[str, str], data: bytes, cloud: Cloud, pubsub: None
) -> None:
    with pytest.raises(PublishFailed):
        ErrorTopic(cloud.topic, timeout_s=5).publish(attributes, data)


def test_publishing_fails_within_its_timeout_when_pub_sub_is_dead(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    unused_port = Port()
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", f"127.0.0.1:{unused_port.number}")
    began = time.monotonic()
    with pytest.raises(PublishFailed) as caught:
        ErrorTopic(cloud.topic, timeout_s=0.5).publish({}, b"{}")
    assert time.monotonic() - began < 4
    assert str(unused_port.number) not in str(caught.value)
    unused_port.release()


def test_publishing_fails_within_the_event_deadline(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    unused_port = Port()
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", f"127.0.0.1:{unused_port.number}")
    for seconds in (0, 0.3):
        began = time.monotonic()
        with deadline.fail_after(seconds), pytest.raises(PublishFailed):
            ErrorTopic(cloud.topic).publish({}, b"{}")
        assert time.monotonic() - began < 4
    unused_port.release()
