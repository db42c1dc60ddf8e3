"""Tests that runs which cannot end before the deadline are rejected before the first of them."""

import time
from typing import Any, Literal

import numpy as np
import pytest

from shared.errors import DeadlineExceeded, ImageTooLarge
from shared.ml.onnx_model import ModelSource, OnnxModel
from shared.processing_context import ProcessingContext
from shared.processors.base_processor import ensure_enough_time
from shared.processors.detector_processor import DetectorProcessor
from shared.processors.sahi_detector_processor import SAHIDetectorProcessor
from shared.processors.sahi_segmentation_processor import SAHISegmentationProcessor
from shared.processors.sliced_processor import SliceOptions, min_runtime_s
from shared.runtime import deadline
from shared.runtime.event_record import event_record
from shared.steps.segmentation_step import SegmentationStep
from shared.steps.within_segments_step import WithinSegmentsStep
from shared.vision.arrays import Pixels, SizeHW
from testing import models
from testing.memory_store import PutModel
from testing.present import present


def black(size_hw: SizeHW) -> Pixels:
    return np.zeros((*size_hw, 3), np.uint8)


SMALL_SLICES = SliceOptions(slice_hw=(16, 16), overlap=0.0)


@pytest.mark.parametrize(
    ("min_s", "total_s", "spent_s", "error"),
    [
        (0.0, 1, 0, None),
        (0.9, 1, 0, None),
        (1.1, 1, 0, ImageTooLarge),
        (0.9, 1, 0.2, DeadlineExceeded),  # enough for an event, not for the rest of this one
        (1.1, 1, 0.2, ImageTooLarge),
    ],
)
def test_ensure_enough_time_rejects_or_defers(min_s: float, total_s: float, spent_s: float, error: Any) -> None:
    with deadline.fail_after(total_s):
        time.sleep(spent_s)
        if error is None:
            ensure_enough_time(7, min_s)
            return
        with pytest.raises(error, match=rf"7 runs of the model, which take at least {min_s:g} s"):
            ensure_enough_time(7, min_s)


def test_without_deadline_any_runtime_is_allowed() -> None:
    ensure_enough_time(10**6, 1e9)


def test_min_runtime_adds_areas_by_size_over_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.processors.sliced_processor.available_cpus", lambda: 4)
    areas = np.array([[0, 0, 10, 20], [5, 5, 15, 25], [0, 0, 100, 200]])
    assert min_runtime_s(areas, lambda hw: {(20, 10): 1.0, (200, 100): 6.0}[hw]) == (1 + 1 + 6) / 4


@pytest.mark.parametrize(
    ("model_type", "data", "processor"),
    [
        ("detect", models.blob_detector(), SAHIDetectorProcessor),
        ("segment", models.blob_detector("segment"), SAHISegmentationProcessor),
    ],
)
def test_tiles_beyond_an_events_time_are_rejected_before_the_first_run(
    model_type: str, data: bytes, processor: Any, put_model: PutModel
) -> None:
    put_model(data, model_type)
    sliced = processor(tenant_id="tenant-001", slices=SMALL_SLICES)
    sliced.process(black((64, 64)))
    runs, min_s = sliced.min_runtime((960, 960))
    assert runs == 60 * 60 + 1
    with event_record() as summary, deadline.fail_after(min_s / 2):
        with pytest.raises(
            ImageTooLarge,
            match=f"3601 runs of the model, which take at least .* s; the limit for an event is {min_s / 2:g} s",
        ):
            sliced.process(black((960, 960)))
        assert "slices" not in summary.timings_ms
    with deadline.fail_after(60):
        assert len(sliced.process(black((64, 64)))) == 0


def test_min_runtime_before_any_run_is_small(put_model: PutModel) -> None:
    put_model(models.detect(ballast=4_000_000))
    sliced = SAHIDetectorProcessor(tenant_id="tenant-001", slices=SMALL_SLICES)
    _, min_s = sliced.min_runtime((64, 64))
    assert 0 < min_s < 0.01, "only the time to read the weights"


@pytest.mark.parametrize("kind", ["detect", "sahi_detect"])
def test_segments_beyond_an_events_time_are_rejected(
    kind: Literal["detect", "sahi_detect"], put_model: PutModel
) -> None:
    put_model(models.blob_detector("segment"), "segment")
    put_model(models.blob_detector())
    image = black((64, 64))
    for x in range(0, 64, 16):
        for y in range(0, 64, 16):
            image[y + 4 : y + 12, x + 4 : x + 12] = (255, 0, 0)
    ctx = SegmentationStep().execute(ProcessingContext(tenant_id="tenant-001", image=image))
    assert len(present(ctx.segments)) == 16
    step = WithinSegmentsStep(detector=kind, slices=SliceOptions(slice_hw=(4, 4), overlap=0.0, full_image=False))
    step.execute(ctx)
    processor = (
        DetectorProcessor(tenant_id="tenant-001")
        if kind == "detect"
        else SAHIDetectorProcessor(tenant_id="tenant-001", slices=step.slices)
    )
    runs, min_s = processor.min_runtime((8, 8))
    with event_record() as summary, deadline.fail_after(min_s * 8):
        with pytest.raises(ImageTooLarge, match=f"needs {16 * runs} runs"):
            step.execute(ctx)
        assert not {"slices", "infer"} & set(summary.timings_ms)


def test_min_runtime_is_the_fastest_run_on_a_canvas_not_larger() -> None:
    source = ModelSource("gs://b/models/t/detect.onnx", 1, "AAAAAA==")
    model = OnnxModel(models.blob_detector(dynamic=True), model_type="detect", source=source, threads=1)
    weights_s = model.min_runtime_s((64, 64))
    for side in (32, 128):
        for _ in range(3):
            model.run(np.zeros((1, 3, side, side), np.float32))
    assert model.min_runtime_s((16, 16)) == weights_s
    assert (
        weights_s
        < model.min_runtime_s((32, 32))
        == model.min_runtime_s((64, 64))
        == model.min_runtime_s((32, 127))
    )
    assert model.min_runtime_s((128, 128)) == model.min_runtime_s((1280, 1280)) > model.min_runtime_s((64, 64))
