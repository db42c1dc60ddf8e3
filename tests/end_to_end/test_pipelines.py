"""Pipelines from the message to the result: the built-in ones, a tenant's own, and mistakes in them."""

import json
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import pytest

from local.stack import Stack
from testing import models
from testing.scenes import BLUE, GREEN, Rectangle, png, scene
from testing.tenant import Tenant, post

pytestmark = pytest.mark.stack

IMAGE_HW = (64, 96)

Validate = Callable[[Any], None]


class RequestResult(Protocol):
    def __call__(self, pipeline: str, **options: object) -> Any: ...


def bed(x1: int, x2: int) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    pixels = np.zeros(IMAGE_HW, bool)
    pixels[:, x1:x2] = True
    return pixels


# Three in the left bed, one in the right, one between them.
OBJECTS: list[Rectangle] = [
    (4, 4, 14, 14),
    (20, 10, 32, 22),
    (4, 40, 14, 50, BLUE),
    (70, 30, 80, 40),
    (42, 20, 46, 30),
]
IMAGE = png(scene(IMAGE_HW, [*OBJECTS, (95, 63, 96, 64, GREEN)]))
BEDS = ((0, 0.9, bed(0, 36)), (0, 0.8, bed(56, 96)))


@pytest.fixture
def uploaded_tenant(tenant: Tenant) -> Tenant:
    """A tenant with models of all types, whose image has been uploaded and processed."""
    tenant.put_model(models.blob_detector(canvas_hw=IMAGE_HW))
    tenant.put_model(models.segment(BEDS), "segment")
    tenant.put_model(models.classify(), "classify")
    tenant.upload("a.png", IMAGE)
    assert tenant.wait_for_result("a.png")["counts"] == {"plant": 4, "tray": 1}
    return tenant


@pytest.fixture
def request_result(uploaded_tenant: Tenant, validate: Validate) -> RequestResult:
    """A function: a pipeline and its options -> the result after a message that requests it."""
    requested = []

    def request_result(pipeline: str, **options: object) -> Any:
        requested.append(pipeline)
        uploaded_tenant.publish("a.png", json.dumps({"options": options}).encode(), pipeline=pipeline)
        summary = uploaded_tenant.wait_for_summaries(len(requested), "process_message")[-1]
        assert (summary["verdict"], summary["pipeline"]) == ("done", pipeline), summary
        result = uploaded_tenant.result("a.png")
        validate(result)
        assert result["pipeline"] == pipeline
        return result

    return request_result


def test_message_selects_each_built_in_pipeline(uploaded_tenant: Tenant, request_result: RequestResult) -> None:
    segmented = request_result("segment")
    assert (segmented["counts"], "detections" in segmented) == ({"bed": 2}, False)
    assert [each["area"] for each in segmented["segments"]] == [36 * 64, 40 * 64]

    sliced = request_result("sahi_detect", slice_size=[64, 48], overlap=0.5)
    assert (sliced["counts"], set(sliced["models"])) == ({"plant": 4, "tray": 1}, {"detect"})
    assert min(each["box"] for each in sliced["detections"]) == [4, 4, 14, 14]

    classified = request_result("classify", top_k=1)
    assert len(classified["classification"]) == 1
    assert classified["counts"] == {}

    counted = request_result("count")
    assert counted["counts"] == {"plant": 3, "tray": 1}
    assert [each["counts"] for each in counted["segments"]] == [{"plant": 2, "tray": 1}, {"plant": 1}]
    assert set(counted["models"]) == {"detect", "segment"}
    digests = {each["pipeline_digest"] for each in (segmented, sliced, classified, counted)}
    assert len(digests) == 4

    uploaded_tenant.publish("a.png", pipeline="count")
    assert uploaded_tenant.wait_for_summaries(5, "process_message")[-1]["verdict"] == "duplicate"


def test_message_selects_a_pipeline_of_the_tenant_by_name(
    uploaded_tenant: Tenant, request_result: RequestResult
) -> None:
    uploaded_tenant.put_pipelines(
        {
            "largest-bed": {
                "steps": [
                    {"step": "segment", "options": {"resolution": "image", "run_lengths": True}},
                    {"step": "segment_filter", "options": {"labels": ["bed"], "largest": 1}},
                    {"step": "within_segments", "options": {"labels": ["plant"]}},
                    {"step": "aggregate"},
                    {"step": "size_statistics", "options": {"bands": [{"name": "all"}]}},
                ]
            }
        }
    )
    result = request_result("largest-bed")
    [segment] = result["segments"]
    assert (segment["area"], segment["counts"], result["counts"]) == (40 * 64, {"plant": 1}, {"plant": 1})
    assert sum(segment["run_lengths"]["counts"][1::2]) == 40 * 64
    assert [each["bands"] for each in result["sizes"]] == [{"all": 1}]
    status, _ = uploaded_tenant.request("a.png", pipeline="largest-bed")
    assert status == 200


def test_mistake_in_pipelines_json_is_published_with_its_path(uploaded_tenant: Tenant) -> None:
    uploaded_tenant.put_pipelines(
        {"mine": {"steps": [{"step": "segment"}, {"step": "segment_filter", "options": {"min_area": "5"}}]}}
    )
    uploaded_tenant.publish("a.png", pipeline="mine", request_id="order-7")
    attributes, data = uploaded_tenant.wait_for_error()
    assert (attributes["status"], attributes["error"]) == ("400", "invalid_pipeline")
    assert data["message"] == "pipelines.json: mine.steps[1].options.min_area: '5' is not of type 'number'"
    assert data["request_id"] == "order-7"
    status, answer = uploaded_tenant.request("a.png", pipeline="mine")
    assert (status, json.loads(answer)["detail"]) == (400, data["message"])


@pytest.mark.parametrize(
    ("pipeline", "options", "sentence"),
    [
        (
            "astrology",
            {},
            "unknown pipeline 'astrology'; known pipelines: classify, count, detect, sahi_detect, segment",
        ),
        ("detect", {"labels": ["weed"]}, "unknown label 'weed'; the model's labels: plant, tray"),
        ("detect", {"top_k": 1}, "unknown option 'top_k'; known options: "),
        ("detect", {"confidence_threshold": 2}, "options: confidence_threshold: 2 is greater"),
        ("sahi_detect", {"slice_size": 1}, "options: slice_size: "),
    ],
    ids=str,
)
def test_invalid_pipeline_or_option_is_answered_with_a_sentence(
    pipeline: str, options: dict[str, object], sentence: str, uploaded_tenant: Tenant
) -> None:
    status, answer = uploaded_tenant.request("a.png", pipeline=pipeline, options=options)
    problem = json.loads(answer)
    assert (status, problem["error"]) == (400, "invalid_pipeline")
    assert problem["detail"].startswith(sentence)


def test_segment_and_count_without_segment_model_are_400(tenant: Tenant) -> None:
    tenant.put_model(models.blob_detector(canvas_hw=IMAGE_HW))
    tenant.upload("a.png", IMAGE)
    tenant.wait_for_result("a.png")
    for pipeline in ("segment", "count"):
        status, answer = tenant.request("a.png", pipeline=pipeline)
        assert (status, json.loads(answer)["detail"]) == (
            400,
            f"Model 'segment' not found for tenant '{tenant.id}'",
        )


@pytest.mark.parametrize("text", [r"\ud800", r"\n", "x" * 300])
def test_hostile_option_text_is_a_problem_and_not_a_bug(text: str, uploaded_tenant: Tenant, stack: Stack) -> None:
    body = (
        f'{{"tenant_id": "{uploaded_tenant.id}", "image": "a.png", "options": {{"labels": ["{text}"]}}}}'.encode()
    )
    status, answer = post(stack.url("process_request"), {"content-type": "application/json"}, body)
    assert status == 400
    assert json.loads(answer)["error"] in {"invalid_event", "invalid_pipeline"}
