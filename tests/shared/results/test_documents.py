"""Tests result documents against their schema, and that errors disclose no secrets."""

import json
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import (
    ImageNotFound,
    InternalError,
    InvalidEvent,
    InvalidModel,
    ModelNotFound,
    StorageUnavailable,
)
from shared.events import ImageRef, ImageVersion, Request
from shared.ml.onnx_model import ModelSource, OnnxModel
from shared.names import MAX_SENTENCE_CHARACTERS
from shared.processing_context import ProcessingContext
from shared.results import documents
from shared.vision.boxes.detections import Detections
from testing import models

NOW = datetime(2026, 11, 22, 20, 4, 46, 123_999, tzinfo=UTC)
REQUEST = Request(
    tenant_id="tenant-001",
    image=ImageRef("up", "uploads/tenant-001/beds/a.jpg", 7),
    pipeline="detect",
    request_id="order-1",
    event_id="e-1",
)
MODEL = OnnxModel(
    models.detect(),
    model_type="detect",
    source=ModelSource("gs://models/models/tenant-001/detect.onnx", 5, "ct+x2g=="),
    threads=1,
)


@pytest.fixture(scope="module")
def validate(root: Path) -> Callable[[Any], None]:
    return jsonschema.Draft202012Validator(
        json.loads((root / "shared/schemas/result.schema.json").read_text())
    ).validate


def context(detections: Detections | None = None, size_wh: tuple[int, int] = (640, 480)) -> ProcessingContext:
    image = np.zeros((size_wh[1], size_wh[0], 3), np.uint8)
    return ProcessingContext(tenant_id="tenant-001", image=image, detections=detections, models={"detect": MODEL})


def detections_of(*objects: tuple[float, ...]) -> Detections:
    """Return detections from rows of x1, y1, x2, y2, confidence and class."""
    rows = np.array(objects, np.float32).reshape(-1, 6)
    return Detections(rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int64))


def result(ctx: ProcessingContext, request: Request = REQUEST) -> dict[str, Any]:
    image = ImageVersion(request.image.bucket, request.image.name, 7)
    findings = documents.findings("tenant-001", image, "detect", ctx, pipeline_digest="0" * 64)
    document = documents.complete(
        documents.to_json(findings), request, created_at=NOW, timings_ms={"infer": 1.5, "total": 2.0}
    )
    parsed: dict[str, Any] = json.loads(document)
    return parsed


def test_no_objects_give_empty_list_and_no_counts(validate: Callable[[Any], None]) -> None:
    document = result(context(Detections.empty()))
    validate(document)
    assert (document["detections"], document["counts"]) == ([], {})


def test_answers_of_steps_that_did_not_run_are_absent(validate: Callable[[Any], None]) -> None:
    document = result(context())
    validate(document)
    assert "detections" not in document
    assert document["counts"] == {}


def test_result_has_image_models_and_detections(validate: Callable[[Any], None]) -> None:
    document = result(context(detections_of((1.006, 2, 30, 40.25, 0.93456, 0), (5, 6, 7, 8, 0.5, 1))))
    validate(document)
    assert document == {
        "schema_version": 1,
        "tenant_id": "tenant-001",
        "image": {"uri": "gs://up/uploads/tenant-001/beds/a.jpg", "generation": 7, "width": 640, "height": 480},
        "pipeline": "detect",
        "pipeline_digest": "0" * 64,
        "models": {
            "detect": {
                "uri": "gs://models/models/tenant-001/detect.onnx",
                "generation": 5,
                "crc32c": "ct+x2g==",
                "labels": ["plant", "tray"],
            }
        },
        "detections": [
            {"label": "plant", "class_id": 0, "confidence": 0.9346, "box": [1.01, 2, 30, 40.25]},
            {"label": "tray", "class_id": 1, "confidence": 0.5, "box": [5, 6, 7, 8]},
        ],
        "counts": {"plant": 1, "tray": 1},
        "request_id": "order-1",
        "event_id": "e-1",
        "created_at": "2026-11-22T20:04:46.123Z",
        "timings_ms": {"infer": 1.5, "total": 2.0},
    }


@pytest.mark.parametrize("request_id", [None, "", "order-1"])
def test_missing_request_id_is_null(request_id: str | None, validate: Callable[[Any], None]) -> None:
    document = result(context(), replace(REQUEST, request_id=request_id or None))
    validate(document)
    assert document["request_id"] == (request_id or None)


def test_warnings_are_absent_if_there_are_none(validate: Callable[[Any], None]) -> None:
    assert "warnings" not in result(context())
    document = result(replace(context(), warnings=("NMS is built in",)))
    validate(document)
    assert document["warnings"] == ["NMS is built in"]


SIDES = st.floats(0, 640, width=32)
OBJECTS = st.lists(
    st.tuples(
        SIDES, SIDES, SIDES, SIDES, st.sampled_from([0.25, 0.3, 0.30001, 0.9, 1.0]), st.sampled_from([0, 1])
    ),
    max_size=6,
)


@given(OBJECTS, st.randoms())
def test_document_is_independent_of_object_order(
    validate: Callable[[Any], None], objects: list[tuple[float, ...]], chance: random.Random
) -> None:
    shuffled = list(objects)
    chance.shuffle(shuffled)
    first, second = (documents.to_json(result(context(detections_of(*each)))) for each in (objects, shuffled))
    assert first == second
    document = json.loads(first)
    validate(document)
    order = [(-each["confidence"], each["box"]) for each in document["detections"]]
    assert order == sorted(order)
    assert sum(document["counts"].values()) == len(objects)


def test_json_is_one_line_of_utf_8() -> None:
    assert documents.to_json({"ä": [1, "\n"], "b": None}) == '{"ä":[1,"\\n"],"b":null}\n'.encode()


def test_result_prefix_is_the_image_path_in_the_tenants_folder() -> None:
    assert REQUEST.result_prefix == "results/tenant-001/beds/a.jpg"
    nested = replace(REQUEST, image=ImageRef("up", "uploads/tenant-001/uploads/tenant-001/a.jpg", 7))
    assert nested.result_prefix == "results/tenant-001/uploads/tenant-001/a.jpg"


# Errors

FIELDS = {
    "tenant_id": "tenant-001",
    "image": "gs://up/uploads/tenant-001/a.jpg",
    "generation": "7",
    "pipeline": "detect",
    "event_id": "e-1",
    "request_id": "order-1",
}


def test_error_message_has_fields_as_attributes_and_data() -> None:
    attributes, data = documents.error_message(ModelNotFound("tenant-001", "detect"), FIELDS, occurred_at=NOW)
    assert attributes == {"status": "400", "error": "model_not_found", "model_type": "detect", **FIELDS}
    assert json.loads(data) == attributes | {
        "status": 400,
        "message": "Model 'detect' not found for tenant 'tenant-001'",
        "occurred_at": "2026-11-22T20:04:46.123Z",
    }


@pytest.mark.parametrize(
    "fields", [{}, {"tenant_id": None, "image": ""}, {"headers": "secret", "model_cache": "hit"}]
)
def test_unknown_and_foreign_fields_are_omitted(fields: dict[str, Any]) -> None:
    attributes, data = documents.error_message(InvalidEvent("Why"), fields, occurred_at=NOW)
    assert attributes == {"status": "400", "error": "invalid_event"}
    assert set(json.loads(data)) == {"status", "error", "message", "occurred_at"}
    assert "secret" not in json.dumps(documents.problem(InvalidEvent("Why"), fields))


@pytest.mark.parametrize("character", ["x", "ü", "苗"])
def test_attributes_are_truncated_at_1024_bytes_and_data_is_not(character: str) -> None:
    image = "gs://up/" + character * 2000
    attributes, data = documents.error_message(ImageNotFound("Why"), {"image": image}, occurred_at=NOW)
    assert 1020 < len(attributes["image"].encode()) <= 1024
    assert image.startswith(attributes["image"])
    assert json.loads(data)["image"] == image


def test_message_of_12_mb_is_published_within_a_few_kilobytes() -> None:
    hostile = "\n\0" + "苗" * 4_000_000
    attributes, data = documents.error_message(InvalidModel(hostile), FIELDS, occurred_at=NOW)
    problem = documents.problem(InvalidModel(hostile), FIELDS)

    assert len(data) + len(str(attributes).encode()) < 10_000
    assert len(documents.to_json(problem)) < 10_000
    assert len(json.loads(data)["message"]) == len(problem["detail"]) == MAX_SENTENCE_CHARACTERS


def test_cause_of_an_error_is_not_disclosed() -> None:
    error = StorageUnavailable("Storage did not serve gs://b/o")
    error.__cause__ = KeyError("secret")
    attributes, data = documents.error_message(error, FIELDS, occurred_at=NOW)
    problem = documents.problem(error, FIELDS)
    assert "secret" not in str((attributes, data, problem))
    assert (attributes["status"], problem["status"]) == ("503", 503)


def test_problem_follows_rfc_9457() -> None:
    problem = documents.problem(ModelNotFound("tenant-001", "detect"), FIELDS)
    assert problem == {
        "type": "urn:tenant-vision:error:model_not_found",
        "title": "model not found",
        "status": 400,
        "detail": "Model 'detect' not found for tenant 'tenant-001'",
        "error": "model_not_found",
        "model_type": "detect",
        **FIELDS,
    }


def test_problem_of_a_bug_is_an_internal_error() -> None:
    problem = documents.problem(InternalError(), {})
    assert (problem["status"], problem["error"]) == (500, "internal_error")
