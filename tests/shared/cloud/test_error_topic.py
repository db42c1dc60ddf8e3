"""ErrorTopic against the Pub/Sub emulator, and against nobody."""

import json
import time

import pytest

from local.port import Port
from shared.cloud.error_topic import ErrorTopic
from shared.errors import PublishFailed
from shared.runtime import deadline


@pytest.fixture
def pubsub(emulators, monkeypatch):
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", emulators.pubsub_host)


@pytest.mark.parametrize("attributes", [{}, {"status": "400"}, {"image": "gs://b/ü", "error": "x" * 1024}])
def test_a_message_arrives_as_it_was_given(attributes, cloud, pubsub):
    message_id = ErrorTopic(cloud.topic).publish(attributes, b'{"message": "a sentence"}')
    assert message_id
    assert cloud.errors() == [(attributes, {"message": "a sentence"})]


def test_a_topic_may_be_named_short(cloud, pubsub):
    project, name = cloud.topic.split("/")[1::2]
    ErrorTopic(name, project=project).publish({}, json.dumps({}).encode())
    assert cloud.errors() == [({}, {})]


def test_a_topic_that_is_not_there_fails(cloud, pubsub):
    with pytest.raises(PublishFailed):
        ErrorTopic(f"{cloud.topic}-gone", timeout_s=5).publish({}, b"{}")


@pytest.mark.parametrize(
    ("attributes", "data"),
    [({"image": "x" * 1025}, b"{}"), ({}, b"x" * 11 * 2**20), ({}, b""), ({"": "x"}, b"{}")],
)
def test_what_pub_sub_takes_from_nobody_fails_at_once(attributes, data, cloud, pubsub):
    with pytest.raises(PublishFailed):
        ErrorTopic(cloud.topic, timeout_s=5).publish(attributes, data)


def test_nobody_there_fails_within_the_deadline(cloud, monkeypatch):
    nobody = Port()
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", f"127.0.0.1:{nobody.number}")
    began = time.monotonic()
    with pytest.raises(PublishFailed) as caught:
        ErrorTopic(cloud.topic, timeout_s=0.5).publish({}, b"{}")
    assert time.monotonic() - began < 4
    assert str(nobody.number) not in str(caught.value)
    nobody.release()


def test_publishing_ends_with_the_event(cloud, monkeypatch):
    nobody = Port()
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", f"127.0.0.1:{nobody.number}")
    for seconds in (0, 0.3):
        began = time.monotonic()
        with deadline.fail_after(seconds), pytest.raises(PublishFailed):
            ErrorTopic(cloud.topic).publish({}, b"{}")
        assert time.monotonic() - began < 4
    nobody.release()
