"""Instances start, stop and stay warm: redelivery, cold and warm caches, refreshed models and pipelines."""

import os
from collections.abc import Iterator

import pytest

from local.resources import RedeliveryPolicy
from local.stack import Stack
from testing import models
from testing.pictures import picture
from testing.tenant import Tenant

pytestmark = pytest.mark.stack


@pytest.mark.slow
def test_instance_loads_a_model_once_and_a_new_instance_again(tenant: Tenant, stack: Stack) -> None:
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
def test_upload_during_downtime_is_delivered_after_restart(tenant: Tenant, stack: Stack) -> None:
    tenant.put_model(models.detect())
    stack.kill_function("process_upload")
    generation = tenant.upload("a.jpg", picture())
    stack.start_function("process_upload")
    assert tenant.wait_for_result("a.jpg")["image"]["generation"] == generation
    assert [line["verdict"] for line in tenant.wait_for_summaries(1)] == ["done"]


def test_event_delivered_twice_is_done_once(tenant: Tenant, stack: Stack) -> None:
    """Pub/Sub delivers at least once."""
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
    assert first["event_id"] != second["event_id"]


@pytest.fixture(scope="module")
def refreshing_stack() -> Iterator[Stack]:
    """A stack whose functions refresh models and pipelines at every event, and whose Pub/Sub gives up soon."""
    environment = dict(os.environ) | {"MODEL_REFRESH_SECONDS": "0"}
    delivery = RedeliveryPolicy(min_backoff_s=0.05, max_backoff_s=0.1, max_delivery_attempts=5)
    with Stack(
        targets=("process_upload", "process_message"), environment=environment, redelivery=delivery
    ) as stack:
        yield stack


@pytest.fixture
def refreshing_tenant(refreshing_stack: Stack, tenant: Tenant) -> Tenant:
    return Tenant(refreshing_stack, tenant.id)


def test_new_model_generation_is_used_by_a_warm_instance(refreshing_tenant: Tenant) -> None:
    refreshing_tenant.put_model(models.detect())
    refreshing_tenant.upload("a.jpg", picture())
    assert refreshing_tenant.wait_for_result("a.jpg")["counts"] == {"plant": 1, "tray": 1}
    generation = refreshing_tenant.put_model(models.detect(labels=("weed", "pot")))
    refreshing_tenant.publish("a.jpg")
    [summary] = refreshing_tenant.wait_for_summaries(1, "process_message")
    assert summary["verdict"] == "done"
    result = refreshing_tenant.result("a.jpg")
    assert (result["models"]["detect"]["generation"], result["counts"]) == (generation, {"weed": 1, "pot": 1})


def test_broken_new_model_keeps_the_old_one_and_logs_a_warning(
    refreshing_tenant: Tenant, refreshing_stack: Stack
) -> None:
    old = refreshing_tenant.put_model(models.detect())
    refreshing_tenant.upload("a.jpg", picture())
    refreshing_tenant.wait_for_result("a.jpg")
    refreshing_tenant.put_model(b"no model")
    refreshing_tenant.upload("b.jpg", picture())
    assert refreshing_tenant.wait_for_result("b.jpg")["models"]["detect"]["generation"] == old
    warnings = [
        line["message"] for line in refreshing_stack.log_lines("process_upload") if line["severity"] == "WARNING"
    ]
    assert any(
        f"{refreshing_tenant.id}_detect_worker_0 failed, keeping generation {old}" in message
        for message in warnings
    )


def test_new_pipelines_are_used_and_broken_ones_keep_the_old(
    refreshing_tenant: Tenant, refreshing_stack: Stack
) -> None:
    refreshing_tenant.put_model(models.detect())
    refreshing_tenant.upload("a.jpg", picture())
    refreshing_tenant.wait_for_result("a.jpg")
    cases = [("plant", {"plant": 1}), ("tray", {"tray": 1}), ("weed", {"tray": 1})]
    for count, (label, counts) in enumerate(cases, start=1):
        options = {"labels": [label]} if label != "weed" else {"label": label}
        refreshing_tenant.put_pipelines({"mine": {"steps": [{"step": "detect", "options": options}]}})
        refreshing_tenant.publish("a.jpg", pipeline="mine")
        summary = refreshing_tenant.wait_for_summaries(count, "process_message")[-1]
        assert summary["verdict"] == ("duplicate" if label == "weed" else "done")
        assert refreshing_tenant.result("a.jpg")["counts"] == counts
    warnings = [
        line["message"] for line in refreshing_stack.log_lines("process_message") if line["severity"] == "WARNING"
    ]
    assert any(refreshing_tenant.id in message and "mine.steps[0].options" in message for message in warnings)


@pytest.mark.slow
def test_undeliverable_event_becomes_a_dead_letter(refreshing_tenant: Tenant, refreshing_stack: Stack) -> None:
    refreshing_stack.kill_function("process_message")
    refreshing_tenant.publish("a.jpg")
    letters = refreshing_stack.read(refreshing_stack.names.dead_letter_subscription, timeout_s=20)
    refreshing_stack.start_function("process_message")
    assert [dict(letter.attributes)["tenant_id"] for letter in letters] == [refreshing_tenant.id]
