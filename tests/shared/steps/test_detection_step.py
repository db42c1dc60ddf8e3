"""Tests the given flow: context, step, processor, ModelCache, without state of a request."""

import dataclasses
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from shared.errors import ModelNotFound
from shared.ml.model_cache import ModelCache
from shared.processing_context import ProcessingContext
from shared.processors.base_processor import BaseProcessor
from shared.processors.box_processor import BoxOptions
from shared.processors.detector_processor import DetectorProcessor
from shared.steps.detection_step import DetectionStep
from testing import models
from testing.memory_store import MemoryStore
from testing.present import present


@pytest.fixture
def store() -> Iterator[MemoryStore]:
    store = MemoryStore()
    ModelCache.configure(store, bucket="b", threads=1)
    yield store
    ModelCache.clear_cache()


def context(tenant_id: str = "tenant-001", light: int = 255, **others: Any) -> ProcessingContext:
    image = np.full((64, 64, 3), light, np.uint8)
    return ProcessingContext(tenant_id=tenant_id, image=image, **others)


def test_execute_runs_the_tenants_model_and_returns_a_new_context(store: MemoryStore) -> None:
    store.put("models/tenant-001/detect.onnx", models.detect())
    before = context()
    after = DetectionStep().execute(before)
    assert before.detections is None, "a context is not changed: there is a new one"
    assert present(after.detections).boxes_xyxy.tolist() == [[8, 8, 24, 24], [32, 32, 56, 48]]
    assert present(after.detections).confidences.tolist() == pytest.approx([0.9, 0.8])
    assert present(after.detections).class_ids.tolist() == [0, 1]
    assert after.models["detect"].source.uri == "gs://b/models/tenant-001/detect.onnx"
    assert (after.tenant_id, after.image is before.image) == ("tenant-001", True)
    assert ModelCache.keys() == ["tenant-001_detect_worker_0"]


def test_no_objects_give_empty_detections_not_none(store: MemoryStore) -> None:
    store.put("models/tenant-001/detect.onnx", models.detect())
    after = DetectionStep().execute(context(light=0))
    assert len(present(after.detections)) == 0
    assert set(after.models) == {"detect"}


def test_execute_uses_model_of_worker_0(store: MemoryStore) -> None:
    store.put("models/tenant-001/detect.onnx", models.detect())
    DetectionStep().execute(context())
    assert ModelCache.keys() == ["tenant-001_detect_worker_0"]


def test_missing_model_of_the_tenant_raises(store: MemoryStore) -> None:
    store.put("models/tenant-002/detect.onnx", models.detect())
    with pytest.raises(ModelNotFound):
        DetectionStep().execute(context())


def test_context_and_step_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        context().tenant_id = "tenant-002"  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        DetectionStep().options = BoxOptions()  # type: ignore[misc]


def test_processor_has_the_tenants_model_of_its_type(store: MemoryStore) -> None:
    store.put("models/tenant-001/detect.onnx", models.detect())
    processor = DetectorProcessor(tenant_id="tenant-001", worker_id=0)
    assert isinstance(processor, BaseProcessor)
    assert processor.model_type == "detect"
    assert processor.model is ModelCache.get_model(tenant_id="tenant-001", model_type="detect", worker_id=0)


def test_processor_keeps_its_model_generation(store: MemoryStore) -> None:
    store.put("models/tenant-001/detect.onnx", models.detect())
    processor = DetectorProcessor(tenant_id="tenant-001")
    store.put("models/tenant-001/detect.onnx", models.detect(boxes=()))
    ModelCache.clear_cache()
    assert len(processor.process(context().image)) == 2


def test_one_step_serves_tenants_in_parallel_without_mixing(store: MemoryStore) -> None:
    for number in range(4):
        box = (10 + 10 * number, 32, 8, 8, 0, 0.9)
        store.put(f"models/t{number}/detect.onnx", models.detect(boxes=(box,)))
    step = DetectionStep()

    def detect(task: int) -> tuple[int, str, Any]:
        number = task % 4
        after = step.execute(context(f"t{number}"))
        return number, after.tenant_id, present(after.detections).boxes_xyxy.tolist()

    with ThreadPoolExecutor(8) as pool:
        for number, tenant_id, boxes in pool.map(detect, range(80)):
            assert tenant_id == f"t{number}"
            assert boxes == [[6 + 10 * number, 28, 14 + 10 * number, 36]]
