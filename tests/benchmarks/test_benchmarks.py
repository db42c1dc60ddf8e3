"""That they run and find what their models were made with; how long they take is nobody's business here."""

import numpy as np
import pytest

from benchmarks import detect, drawing
from benchmarks.network import classify_model, detect_model, segment_model
from benchmarks.photos import HD, image_hw, pixels
from benchmarks.tenants import serving
from shared.processors.classifier_processor import ClassifierProcessor
from shared.processors.detector_processor import DetectorProcessor
from shared.processors.segmentation_processor import SegmentationProcessor

pytestmark = pytest.mark.slow


def test_the_models_find_as_many_objects_as_they_were_made_with():
    shape = {"image_hw": image_hw(HD)}
    models = {
        ("t", "detect"): detect_model(objects=30, **shape)[0],
        ("t", "segment"): segment_model(objects=20, **shape)[0],
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
def test_it_runs_and_every_stage_is_told(benchmark):
    table = benchmark.run(rounds=1)
    assert all(figure.value > 0 for figure in table.figures)
    assert len(table.details) > len(table.figures) / 2
