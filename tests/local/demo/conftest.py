"""Make step outcomes by hand, as a run of the demo would have given them."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from local.demo.comparison import Comparison
from local.demo.plan import Step
from local.demo.step_outcome import ErrorMessage, StepOutcome, Submission
from tests.local.demo.outcomes import MakeOutcome

JPEG = io.BytesIO()
Image.fromarray(np.full((30, 40, 3), 90, np.uint8)).save(JPEG, "JPEG")


@pytest.fixture
def make_done() -> MakeOutcome:
    """Make the outcome of a step with a result; fields of `document` are merged into the usual ones."""

    def make(step: Step | None = None, **fields: Any) -> StepOutcome:
        step = step or Step("upload", "tenant-001", "bed.jpg")
        document: dict[str, Any] = {
            "tenant_id": step.tenant_id,
            "image": {"generation": 11, "width": 40, "height": 30},
            "pipeline": step.pipeline or "detect",
            "models": {"detect": {"uri": "gs://m/detect.onnx", "generation": 7, "labels": ["plant"]}},
            "detections": [],
            "counts": {"plant": 2},
            "event_id": "e-1",
            "request_id": step.request_id,
        }
        usual: dict[str, Any] = {
            "verdict": step.expected_verdict,
            "event_id": "e-1",
            "timings_ms": {"infer": 20.4, "total": 31.6},
            "generations": {"detect": 7},
            "document": document | fields.pop("document", {}),
            "annotated": JPEG.getvalue(),
            "comparison": Comparison({"plant": 3}, {"plant": 2}, {"plant": 2}),
        }
        submission = Submission(f"gs://u/{step.object_name}", image_generation="11")
        return StepOutcome(step, submission, **usual | fields)

    return make


@pytest.fixture
def make_rejected() -> MakeOutcome:
    """Make the outcome of an upload by a tenant without a model; fields of `error` are merged likewise."""

    def make(step: Step | None = None, **fields: Any) -> StepOutcome:
        step = step or Step(
            "upload",
            "tenant-003",
            "bed.jpg",
            expected_verdict="rejected",
            expected_status=400,
            expected_error="model_not_found",
        )
        error: dict[str, Any] = {
            "status": "400",
            "error": "model_not_found",
            "text": "Model 'detect' not found for tenant 'tenant-003'",
            "attributes": {"tenant_id": "tenant-003"},
        }
        usual: dict[str, Any] = {"verdict": "rejected", "error": ErrorMessage(**error | fields.pop("error", {}))}
        submission = Submission(f"gs://u/{step.object_name}", image_generation="11")
        return StepOutcome(step, submission, **usual | fields)

    return make
