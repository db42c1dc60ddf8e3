"""Instances come and go: redelivery, warm and cold caches, a model that is renewed while it serves."""

import os

import pytest

from local.resources import RedeliveryPolicy
from local.stack import Stack
from testing import models
from testing.pictures import picture

pytestmark = pytest.mark.stack


@pytest.mark.slow
def test_a_warm_instance_loads_a_model_once_and_a_new_one_loads_it_again(tenant, stack):
    tenant.put_model(models.detect())
    for number in range(3):
        tenant.upload(f"{number}.jpg", picture())
        tenant.wait_for_result(f"{number}.jpg")
    summaries = tenant.wait_for_summaries(3)
    assert sorted(line["model_cache"] for line in summaries) == ["hit", "hit", "miss"]

    stack.restart_function("process_upload")
    tenant.upload("3.jpg", picture())
    tenant.wait_for_result("3.jpg")
    last = tenant.wait_for_summaries(4)[-1]
    assert (last["model_cache"], last["cold_start"], last["cache"]["models"]) == ("miss", True, 1)


@pytest.mark.slow
def test_what_was_uploaded_while_the_function_was_down_is_delivered_when_it_is_up(tenant, stack):
    tenant.put_model(models.detect())
    stack.kill_function("process_upload")
    generation = tenant.upload("a.jpg", picture())
    stack.start_function("process_upload")
    assert tenant.wait_for_result("a.jpg")["image"]["generation"] == generation
    assert [line["verdict"] for line in tenant.wait_for_summaries(1)] == ["done"]


def test_the_same_event_delivered_twice_is_done_once(tenant, stack):
    """At least once means that: here the platform's own push comes a second time."""
    tenant.put_model(models.detect())
    generation = tenant.upload("a.jpg", picture())
    tenant.wait_for_result("a.jpg")
    tenant.wait_for_summaries(1)
    stack.publisher.publish(
        stack.names.upload_topic,
        b"",
        eventType="OBJECT_FINALIZE",
        bucketId=stack.names.upload_bucket,
        objectId=f"uploads/{tenant.id}/a.jpg",
        objectGeneration=str(generation),
    ).result(timeout=10)
    first, second = tenant.wait_for_summaries(2)
    assert (first["verdict"], second["verdict"]) == ("done", "duplicate")
    assert first["event_id"] != second["event_id"], "another message tells of the same object"


@pytest.fixture(scope="module")
def impatient():
    """A stack of functions that look for a new model at every event, and of a Pub/Sub that gives up soon."""
    environment = dict(os.environ) | {"MODEL_REFRESH_SECONDS": "0"}
    delivery = RedeliveryPolicy(min_backoff_s=0.05, max_backoff_s=0.1, max_delivery_attempts=5)
    with Stack(
        targets=("process_upload", "process_message"), environment=environment, redelivery=delivery
    ) as stack:
        yield stack


@pytest.fixture
def renewer(impatient, tenant):
    return type(tenant)(impatient, tenant.id)


def test_a_new_generation_of_the_model_serves_a_warm_instance_and_redoes_old_work(renewer):
    renewer.put_model(models.detect())
    renewer.upload("a.jpg", picture())
    assert renewer.wait_for_result("a.jpg")["counts"] == {"plant": 1, "tray": 1}
    generation = renewer.put_model(models.detect(labels=("weed", "pot")))
    renewer.publish("a.jpg")
    [summary] = renewer.wait_for_summaries(1, "process_message")
    assert summary["verdict"] == "done"
    result = renewer.result("a.jpg")
    assert (result["models"]["detect"]["generation"], result["counts"]) == (generation, {"weed": 1, "pot": 1})


def test_a_broken_new_model_leaves_the_old_one_in_service_and_the_log_says_so(renewer, impatient):
    old = renewer.put_model(models.detect())
    renewer.upload("a.jpg", picture())
    renewer.wait_for_result("a.jpg")
    renewer.put_model(b"no model")
    renewer.upload("b.jpg", picture())
    assert renewer.wait_for_result("b.jpg")["models"]["detect"]["generation"] == old
    warnings = [line["message"] for line in impatient.log_lines("process_upload") if line["severity"] == "WARNING"]
    assert any(f"{renewer.id}_detect_worker_0 failed, keeping generation {old}" in message for message in warnings)


def test_a_new_pipelines_json_serves_a_warm_instance_and_a_broken_one_does_not(renewer, impatient):
    renewer.put_model(models.detect())
    renewer.upload("a.jpg", picture())
    renewer.wait_for_result("a.jpg")
    wanted = [("plant", {"plant": 1}), ("tray", {"tray": 1}), ("weed", {"tray": 1})]
    for turn, (label, counts) in enumerate(wanted, start=1):
        options = {"labels": [label]} if label != "weed" else {"label": label}
        renewer.put_pipelines({"mine": {"steps": [{"step": "detect", "options": options}]}})
        renewer.publish("a.jpg", pipeline="mine")
        summary = renewer.wait_for_summaries(turn, "process_message")[-1]
        assert summary["verdict"] == ("duplicate" if label == "weed" else "done")
        assert renewer.result("a.jpg")["counts"] == counts
    warnings = [
        line["message"] for line in impatient.log_lines("process_message") if line["severity"] == "WARNING"
    ]
    assert any(renewer.id in message and "mine.steps[0].options" in message for message in warnings)


@pytest.mark.slow
def test_what_no_attempt_can_deliver_ends_among_the_dead_letters(renewer, impatient):
    impatient.kill_function("process_message")
    renewer.publish("a.jpg")
    letters = impatient.read(impatient.names.dead_letter_subscription, timeout_s=20)
    impatient.start_function("process_message")
    assert [dict(letter.attributes)["tenant_id"] for letter in letters] == [renewer.id]
