"""The stack as a library: events reach functions, and unacknowledged ones are redelivered."""

import http.client
import json
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import psutil
import pytest

from local.resources import RedeliveryPolicy
from local.server_process import StackError
from local.stack import Stack

pytestmark = pytest.mark.stack

MANY_ATTEMPTS = RedeliveryPolicy(min_backoff_s=0.1, max_backoff_s=0.2, max_delivery_attempts=100)
FEW_ATTEMPTS = RedeliveryPolicy(min_backoff_s=0.1, max_backoff_s=0.4, max_delivery_attempts=5)


T = TypeVar("T")


def environment(**settings: str) -> dict[str, str]:
    without = {key: value for key, value in os.environ.items() if not key.endswith("EMULATOR_HOST")}
    return without | settings


def wait_until(condition: Callable[[], T], timeout_s: float = 10.0) -> T:
    """Return the condition's value once it is true, or its last value after the timeout."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return value


@pytest.fixture(scope="module")
def stack(source: Path) -> Iterator[Stack]:
    with Stack(source=source, environment=environment(), redelivery=MANY_ATTEMPTS) as stack:
        yield stack


def post(url: str, text: str) -> int:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=5)
    try:
        connection.request("POST", "/", body=text.encode())
        return connection.getresponse().status
    finally:
        connection.close()


def events(stack: Stack, name: str, text: str) -> list[dict[str, Any]]:
    return [line for line in stack.log_lines(name) if text in line["body"]]


def test_upload_reaches_process_upload_only(stack: Stack) -> None:
    bucket = stack.storage.bucket(stack.names.upload_bucket)
    image = bucket.blob("uploads/tenant-001/a b/é.jpg")
    image.upload_from_string(b"12345", content_type="image/jpeg")
    (event,) = wait_until(lambda: events(stack, "process_upload", "tenant-001"))
    assert event["headers"]["Ce-Type"] == "google.cloud.storage.object.v1.finalized"
    resource = json.loads(event["body"])
    assert resource["name"] == image.name
    assert resource["bucket"] == image.bucket.name
    assert resource["generation"] == str(image.generation)
    assert resource["size"] == "5"
    assert resource["contentType"] == "image/jpeg"
    assert not events(stack, "process_message", "tenant-001")


def test_resumable_upload_is_one_event(stack: Stack) -> None:
    image = stack.storage.bucket(stack.names.upload_bucket).blob("uploads/tenant-001/large")
    image.chunk_size = 256 * 1024
    with image.open("wb") as file:
        file.write(bytes(1_000_000))
    assert wait_until(lambda: events(stack, "process_upload", "tenant-001/large"))
    assert len(image.download_as_bytes()) == 1_000_000
    assert len(events(stack, "process_upload", "tenant-001/large")) == 1


def test_objects_of_other_buckets_give_no_event(stack: Stack) -> None:
    for name in (stack.names.models_bucket, stack.names.results_bucket):
        stack.storage.bucket(name).blob("uploads/elsewhere").upload_from_string(b"1")
    stack.storage.bucket(stack.names.upload_bucket).blob("uploads/after").upload_from_string(b"1")
    assert wait_until(lambda: events(stack, "process_upload", "uploads/after"))
    assert not events(stack, "process_upload", "uploads/elsewhere")


def test_message_reaches_process_message_only(stack: Stack) -> None:
    message_id = stack.publisher.publish(stack.names.image_topic, b"", tenant_id="tenant-002").result(timeout=5)
    (event,) = wait_until(lambda: events(stack, "process_message", "tenant-002"))
    body = json.loads(event["body"])
    assert event["headers"]["Ce-Source"] == f"//pubsub.googleapis.com/{stack.names.image_topic}"
    assert event["headers"]["Ce-Id"] == message_id
    assert body["message"]["attributes"] == {"tenant_id": "tenant-002"}
    assert body["subscription"] == stack.names.image_subscription
    assert not events(stack, "process_upload", "tenant-002")


def test_each_function_answers_at_its_own_url(stack: Stack) -> None:
    for variable, name in (("UPLOAD_URL", "process_upload"), ("REQUEST_URL", "process_request")):
        assert post(stack.env[variable], variable) == 200
        assert wait_until(partial(events, stack, name, variable))


def test_published_error_can_be_pulled(stack: Stack) -> None:
    stack.publisher.publish(stack.names.error_topic, b"{}", status="400").result(timeout=5)
    (message,) = stack.read(stack.names.error_subscription)
    assert dict(message.attributes) == {"status": "400"}
    assert stack.read(stack.names.error_subscription, timeout_s=0.1) == []


def test_message_for_killed_function_is_delivered_after_restart(stack: Stack) -> None:
    stack.kill_function("process_message")
    with pytest.raises(ConnectionRefusedError):
        post(stack.url("process_message"), "")
    stack.publisher.publish(stack.names.image_topic, b"", tenant_id="patient").result(timeout=5)
    stack.start_function("process_message")
    event = wait_until(lambda: events(stack, "process_message", "patient"))[0]
    assert json.loads(event["body"])["deliveryAttempt"] > 1


def test_dead_function_is_restarted_at_the_same_url(stack: Stack) -> None:
    url, pid = stack.url("process_request"), stack.function_pid("process_request")
    psutil.Process(pid).kill()
    assert wait_until(lambda: stack.function_pid("process_request") not in {pid, None})
    stack.start_function("process_request")  # that is: wait until it answers
    assert stack.url("process_request") == url
    assert not psutil.pid_exists(pid)


def test_restarted_function_is_another_instance(stack: Stack) -> None:
    instances = set()
    for text in ("first", "second"):
        assert post(stack.url("process_request"), text) == 200
        (event,) = wait_until(partial(events, stack, "process_request", text))
        instances.add(event["instance"])
        stack.restart_function("process_request")
    assert len(instances) == 2


def test_503_and_no_response_are_retried_with_backoff_to_dead_letters(source: Path) -> None:
    with Stack(
        source=source,
        targets=["process_message"],
        environment=environment(ANSWER="503"),
        redelivery=FEW_ATTEMPTS,
    ) as stack:
        stack.publisher.publish(stack.names.image_topic, b"never", tenant_id="t").result(timeout=5)
        (letter,) = stack.read(stack.names.dead_letter_subscription)
        attempts = stack.log_lines("process_message")
        stack.kill_function("process_message")
        stack.publisher.publish(stack.names.image_topic, b"no response", tenant_id="t").result(timeout=5)
        (dead_letter,) = stack.read(stack.names.dead_letter_subscription)
    assert letter.data == b"never"
    assert [json.loads(attempt["body"])["deliveryAttempt"] for attempt in attempts] == [1, 2, 3, 4, 5]
    timestamps = [attempt["at"] for attempt in attempts]
    pauses = [later - earlier for earlier, later in pairwise(timestamps)]
    for pause, minimum in zip(pauses, [0.1, 0.2, 0.4, 0.4], strict=True):
        assert pause > 0.9 * minimum
    assert dead_letter.data == b"no response"
    assert dead_letter.attributes["tenant_id"] == "t"
    assert dead_letter.attributes["CloudPubSubDeadLetterSourceDeliveryCount"] == "5"


def test_environment_names_resources_and_one_bucket_suffices(source: Path) -> None:
    given = environment(GCS_BUCKET="one-for-all", ERROR_TOPIC="failures", CONFIDENCE_THRESHOLD="0.5")
    with Stack(source=source, targets=["process_upload"], environment=given) as stack:
        stack.storage.bucket("one-for-all").blob("results/written").upload_from_string(b"1")
        assert wait_until(lambda: events(stack, "process_upload", "results/written"))
        variables = psutil.Process(stack.function_pid("process_upload")).environ()
    assert {variables[name] for name in ("GCS_BUCKET", "UPLOAD_BUCKET", "RESULTS_BUCKET")} == {"one-for-all"}
    assert variables["ERROR_TOPIC"] == "projects/tenant-vision-local/topics/failures"
    assert variables["CONFIDENCE_THRESHOLD"] == "0.5"


def test_death_of_storage_ends_the_stack_with_an_error(source: Path) -> None:
    before = psutil.Process().children()
    with Stack(source=source, targets=["process_request"], environment=environment()) as stack:
        children = [child for child in psutil.Process().children() if child not in before]
        (storage,) = [child for child in children if "fake-gcs-server" in child.name()]
        stack.wait(timeout_s=0)
        storage.kill()
        with pytest.raises(StackError, match="storage died"):
            stack.wait(timeout_s=5)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import a_module_that_is_not_there\n", "No module named 'a_module_that_is_not_there'"),
        ("def something_else(request): pass\n", "process_upload"),
    ],
)
def test_start_reports_why_source_cannot_be_loaded(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "main.py"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(StackError, match=reason):
        Stack(source=path, targets=["process_upload"], environment=environment()).start()


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"STORAGE_EMULATOR_HOST": "127.0.0.1:9"}, r"storage at http://127\.0\.0\.1:9"),
        ({"PUBSUB_EMULATOR_HOST": "127.0.0.1:9"}, r"Pub/Sub at 127\.0\.0\.1:9"),
    ],
)
def test_start_names_unreachable_emulator(source: Path, settings: dict[str, str], reason: str) -> None:
    with pytest.raises(StackError, match=reason):
        Stack(source=source, targets=[], environment=environment(**settings)).start()


def test_start_names_missing_source_file() -> None:
    with pytest.raises(StackError, match=r"there is no .*nowhere\.py"):
        Stack(source=Path("nowhere.py"), environment=environment()).start()


def test_stop_leaves_no_process_and_no_folder(source: Path) -> None:
    before = set(psutil.Process().children(recursive=True))
    with Stack(source=source, targets=["process_request"], environment=environment()) as stack:
        folder = stack.folder
        assert set(psutil.Process().children(recursive=True)) - before
    assert set(psutil.Process().children(recursive=True)) <= before
    assert not folder.exists()
