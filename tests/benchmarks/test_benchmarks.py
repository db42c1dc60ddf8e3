"""Check that the benchmarks run, and that their models report their known outputs."""

from typing import Protocol

import numpy as np
import pytest

from benchmarks import detect, drawing
from benchmarks.network import classify_model, detect_model, segment_model
from benchmarks.photos import HD, image_hw, pixels
from benchmarks.table import Table
from benchmarks.tenants import serving
from shared.ml.output_layout import ModelType
from shared.processors.classifier_processor import ClassifierProcessor
from shared.processors.detector_processor import DetectorProcessor
from shared.processors.segmentation_processor import SegmentationProcessor


class Benchmark(Protocol):
    """A module with a benchmark."""

    def run(self, rounds: int = ...) -> Table: ...


pytestmark = pytest.mark.slow


def test_models_report_their_known_outputs() -> None:
    shape_hw = image_hw(HD)
    models: dict[tuple[str, ModelType], bytes] = {
        ("t", "detect"): detect_model(objects=30, image_hw=shape_hw)[0],
        ("t", "segment"): segment_model(objects=20, image_hw=shape_hw)[0],
        ("t", "classify"): classify_model()[0],
    }

    with serving(models):
        boxes = DetectorProcessor(tenant_id="t").process(pixels(HD)).boxes_xyxy
        segments = SegmentationProcessor(tenant_id="t").process(pixels(HD))
        classes = ClassifierProcessor(tenant_id="t").process(pixels(HD)).class_ids

    assert len(boxes) == 30
    assert (boxes[:, 2:] - boxes[:, :2] > 20).all()
    assert len(segments) == 20
    whole = np.prod(segments.detections.boxes_xyxy[:, 2:] - segments.detections.boxes_xyxy[:, :2], axis=1)
    assert ((segments.areas / whole > 0.3) & (segments.areas / whole < 0.95)).all()
    assert classes[0] == 0


@pytest.mark.parametrize("benchmark", [detect, drawing], ids=lambda each: each.__name__)
def test_benchmark_runs_and_its_table_has_every_stage(benchmark: Benchmark) -> None:
    table = benchmark.run(rounds=1)
    assert all(figure.value > 0 for figure in table.figures)
    assert len(table.details) > len(table.figures) / 2
