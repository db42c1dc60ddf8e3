"""Emulators that the environment names are used instead of the stack's own, and left unchanged."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from local import clients
from local.process_group_reaper import ProcessGroupReaper
from local.process_log import ProcessLog
from local.resources import create_topics
from local.server_process import ServerProcess
from local.stack import Stack
from local.storage_server import find_binary
from local.upload_watcher import UploadWatcher
from pubsub_emulator import PubSubServer

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def storage_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a storage emulator that publishes no notifications."""

    def command(port: int) -> list[str]:
        url = f"http://127.0.0.1:{port}"
        options = {"scheme": "http", "backend": "memory", "host": "127.0.0.1", "port": port, "external-url": url}
        return [str(find_binary()), *(f"-{key}={value}" for key, value in options.items())]

    folder = tmp_path_factory.mktemp("given")
    reaper = ProcessGroupReaper()
    process = ServerProcess(
        "given storage",
        command,
        health_path="/_internal/healthcheck",
        environment=os.environ,
        folder=folder,
        log=ProcessLog(folder / "log"),
        reaper=reaper,
    )
    process.start()
    process.wait_until_ready(10)
    yield process.url
    process.kill()
    process.release_port()
    reaper.close()


@pytest.fixture(scope="module")
def pubsub_host() -> Iterator[str]:
    with PubSubServer() as server:
        yield server.host_port


def test_given_emulators_are_used_and_left_without_push_subscriptions(
    source: Path, storage_url: str, pubsub_host: str
) -> None:
    environment = os.environ | {
        "STORAGE_EMULATOR_HOST": storage_url.removeprefix("http://"),
        "PUBSUB_EMULATOR_HOST": pubsub_host,
        "GOOGLE_CLOUD_PROJECT": "given",
    }
    storages = storage_children()
    for name in ("uploads/first", "uploads/second"):
        with Stack(source=source, targets=["process_upload"], environment=environment) as stack:
            assert stack.env["STORAGE_EMULATOR_HOST"] == storage_url
            assert stack.env["PUBSUB_EMULATOR_HOST"] == pubsub_host
            assert storage_children() == storages
            stack.storage.bucket(stack.names.upload_bucket).blob(name).upload_from_string(b"123")
            (line,) = wait_for_log_lines(stack, "process_upload")
            assert json.loads(line["body"])["name"] == name
            assert line["headers"]["Ce-Bucket"] == stack.names.upload_bucket
        with clients.subscriber_client(pubsub_host) as subscriber:
            names = {subscription.name for subscription in subscriber.list_subscriptions(project="projects/given")}
        assert names == {stack.names.error_subscription, stack.names.dead_letter_subscription}


def storage_children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "fake-gcs-server" in child.name()]


def wait_for_log_lines(stack: Stack, name: str) -> list[dict[str, Any]]:
    deadline = time.monotonic() + 10
    while not (lines := stack.log_lines(name)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return lines


def test_watcher_publishes_each_generation_once(storage_url: str, pubsub_host: str) -> None:
    names = Stack(environment={"GOOGLE_CLOUD_PROJECT": "watched"}).names
    publisher = clients.publisher_client(pubsub_host)
    create_topics(publisher, names)
    storage = clients.storage_client(storage_url, names.project)
    bucket = storage.create_bucket(names.upload_bucket)
    bucket.blob("old").upload_from_string(b"1")
    with clients.subscriber_client(pubsub_host) as subscriber:
        subscription = f"projects/{names.project}/subscriptions/test"
        subscriber.create_subscription(name=subscription, topic=names.upload_topic)
        watcher = UploadWatcher(storage_url, bucket.name, publisher, names.upload_topic)
        watcher.start()
        watcher.stop()  # from here on the test polls

        def poll_and_read() -> list[tuple[str, str]]:
            watcher.poll()
            messages = clients.read(subscriber, subscription, count=9, timeout_s=0.2)
            return [(each.attributes["objectId"], each.attributes["objectGeneration"]) for each in messages]

        assert poll_and_read() == []
        new = bucket.blob("new ü")
        new.upload_from_string(b"1")
        assert poll_and_read() == [("new ü", str(new.generation))]
        assert poll_and_read() == []
        new.upload_from_string(b"2")
        assert poll_and_read() == [("new ü", str(new.generation))]
        new.delete()
        assert poll_and_read() == []
    publisher.stop()
    publisher.transport.close()
    storage.close()
