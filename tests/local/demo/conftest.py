"""Answers as a run would have given them, made by hand."""

import io

import numpy as np
import pytest
from PIL import Image

from local.demo.answer import Answer, ErrorMessage, Sent
from local.demo.comparison import Comparison
from local.demo.plan import Ask

JPEG = io.BytesIO()
Image.fromarray(np.full((30, 40, 3), 90, np.uint8)).save(JPEG, "JPEG")


@pytest.fixture
def done():
    """Gives a function: an answer that is all it should be, but for what it is told."""

    def make(ask=None, **differences):
        ask = ask or Ask("upload", "tenant-001", "bed.jpg")
        document = {
            "tenant_id": ask.tenant_id,
            "image": {"generation": 11, "width": 40, "height": 30},
            "pipeline": ask.pipeline or "detect",
            "models": {"detect": {"uri": "gs://m/detect.onnx", "generation": 7, "labels": ["plant"]}},
            "detections": [],
            "counts": {"plant": 2},
            "event_id": "e-1",
            "request_id": ask.request_id,
        }
        whole = {
            "verdict": ask.verdict,
            "event_id": "e-1",
            "timings_ms": {"infer": 20.4, "total": 31.6},
            "generations": {"detect": 7},
            "document": document | differences.pop("document", {}),
            "annotated": JPEG.getvalue(),
            "comparison": Comparison({"plant": 3}, {"plant": 2}, {"plant": 2}),
        }
        return Answer(ask, Sent(f"gs://u/{ask.name}", image_generation="11"), **whole | differences)

    return make


@pytest.fixture
def rejected():
    """Gives a function: an answer to an upload of a tenant without a model, but for what it is told."""

    def make(**differences):
        usual = Ask("upload", "tenant-003", "bed.jpg", verdict="rejected", status=400, error="model_not_found")
        ask = differences.pop("ask", usual)
        fields = {
            "status": "400",
            "error": "model_not_found",
            "sentence": "Model 'detect' not found for tenant 'tenant-003'",
            "attributes": {"tenant_id": "tenant-003"},
        }
        answer = {
            "verdict": "rejected",
            "error": ErrorMessage(**fields | differences.pop("error", {})),
        }
        return Answer(ask, Sent(f"gs://u/{ask.name}", image_generation="11"), **answer | differences)

    return make
