"""A duplicate over HTTP is answered with its own document, whatever another writer does between two calls."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from shared.cloud.objects import StoredObject
from shared.config import Config
from shared.errors import StorageUnavailable
from shared.events import ImageRef, Request
from shared.ml.model_cache import ModelCache
from shared.pipeline.runner import PipelineRunner, RunResult
from shared.runtime.event_record import event_record
from testing import models
from testing.memory_store import MemoryStore
from testing.pictures import picture

IMAGE, RESULT = "uploads/tenant-001/a.png", "results/tenant-001/a.png/result.json"
Hook = Callable[[], None]


class InterruptedStore(MemoryStore):
    """Calls the next of `before_read` or `before_write` before the result is read or written."""

    def __init__(self) -> None:
        super().__init__()
        self.before_read: list[Hook] = []
        self.before_write: list[Hook] = []

    def read(
        self, bucket: str, name: str, *, generation: int | None = None, max_bytes: int | None = None
    ) -> StoredObject:
        if name == RESULT and self.before_read:
            self.before_read.pop()()
        return super().read(bucket, name, generation=generation, max_bytes=max_bytes)

    def write(self, bucket: str, name: str, data: bytes, **options: Any) -> int:
        if name == RESULT and self.before_write:
            self.before_write.pop()()
        return super().write(bucket, name, data, **options)


@pytest.fixture
def store() -> Iterator[InterruptedStore]:
    store = InterruptedStore()
    store.put("models/tenant-001/detect.onnx", models.detect())
    store.put(IMAGE, picture(kind="PNG"))
    ModelCache.configure(store, bucket="b", threads=1)
    yield store
    ModelCache.clear_cache()


@pytest.fixture
def runner(store: InterruptedStore) -> PipelineRunner:
    config = Config(gcs_bucket="b", error_topic="e", upload_bucket="b", results_bucket="b")
    return PipelineRunner(store, config)


def request_for(pipeline: str) -> Request:
    return Request(
        tenant_id="tenant-001", image=ImageRef("b", IMAGE), pipeline=pipeline, request_id=f"id-{pipeline}"
    )


def answer(runner: PipelineRunner, pipeline: str) -> tuple[RunResult, dict[str, Any]]:
    with event_record():
        outcome = runner.run_and_read(request_for(pipeline))
    assert outcome.document is not None
    return outcome, json.loads(outcome.document)


def overwrite(runner: PipelineRunner, pipeline: str) -> Hook:
    """Return a hook that has another pipeline write the result, as another instance would."""

    def hook() -> None:
        with event_record():
            runner.run(request_for(pipeline))

    return hook


def test_duplicate_is_answered_with_the_document_that_was_found(runner: PipelineRunner) -> None:
    answer(runner, "detect")
    outcome, document = answer(runner, "detect")

    assert outcome.duplicate
    assert (document["pipeline"], document["request_id"]) == ("detect", "id-detect")


def test_result_overwritten_by_another_pipeline_is_made_again(
    runner: PipelineRunner, store: InterruptedStore
) -> None:
    answer(runner, "detect")
    store.before_read.append(overwrite(runner, "sahi_detect"))

    outcome, document = answer(runner, "detect")

    assert not outcome.duplicate
    assert (document["pipeline"], document["request_id"]) == ("detect", "id-detect")
    assert json.loads(store.data(RESULT))["pipeline"] == "detect"


def test_result_deleted_before_it_is_read_is_made_again(runner: PipelineRunner, store: InterruptedStore) -> None:
    answer(runner, "detect")
    store.before_read.append(lambda: store.remove(RESULT))

    outcome, document = answer(runner, "detect")

    assert not outcome.duplicate
    assert document["pipeline"] == "detect"


def test_same_work_written_by_another_instance_is_read(runner: PipelineRunner, store: InterruptedStore) -> None:
    store.before_write.append(overwrite(runner, "detect"))

    outcome, document = answer(runner, "detect")

    assert outcome.duplicate
    assert document["pipeline"] == "detect"


def test_same_work_written_and_overwritten_meanwhile_is_never_mistaken(
    runner: PipelineRunner, store: InterruptedStore
) -> None:
    store.before_read.append(overwrite(runner, "sahi_detect"))
    store.before_write.append(overwrite(runner, "detect"))

    _, document = answer(runner, "detect")

    assert document["pipeline"] == "detect"


def test_result_replaced_again_and_again_is_deferred(runner: PipelineRunner, store: InterruptedStore) -> None:
    answer(runner, "detect")

    def replace() -> None:
        data = store.data(RESULT)
        stat = store.stat("b", RESULT)
        store.put(RESULT, data, stat.metadata)
        store.before_read.append(replace)

    store.before_read.append(replace)
    before = store.calls["read", RESULT]

    with pytest.raises(StorageUnavailable, match="replaced"), event_record():
        runner.run_and_read(request_for("detect"))

    assert store.calls["read", RESULT] - before == 3
