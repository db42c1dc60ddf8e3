"""Pipelines from the message to the result: the built-in ones by name, a tenant's own, and their mistakes."""

import json

import jsonschema
import numpy as np
import pytest

from testing import models
from testing.scenes import BLUE, GREEN, png, scene

pytestmark = pytest.mark.stack

IMAGE_HW = (64, 96)


def bed(x1, x2):
    pixels = np.zeros(IMAGE_HW, bool)
    pixels[:, x1:x2] = True
    return pixels


# Three in the left bed, one in the right, one between them.
OBJECTS = [(4, 4, 14, 14), (20, 10, 32, 22), (4, 40, 14, 50, BLUE), (70, 30, 80, 40), (42, 20, 46, 30)]
IMAGE = png(scene(IMAGE_HW, [*OBJECTS, (95, 63, 96, 64, GREEN)]))
BEDS = ((0, 0.9, bed(0, 36)), (0, 0.8, bed(56, 96)))


@pytest.fixture(scope="module")
def validate(root):
    return jsonschema.Draft202012Validator(
        json.loads((root / "shared/schemas/result.schema.json").read_text())
    ).validate


@pytest.fixture
def grower(tenant):
    """A tenant with models of all types, whose image has been uploaded, and processed as all are."""
    tenant.put_model(models.blob_detector(canvas_hw=IMAGE_HW))
    tenant.put_model(models.segment(BEDS), "segment")
    tenant.put_model(models.classify(), "classify")
    tenant.upload("a.png", IMAGE)
    assert tenant.wait_for_result("a.png")["counts"] == {"plant": 4, "tray": 1}
    return tenant


@pytest.fixture
def ask(grower, validate):
    """Gives a function: a pipeline -> the result that a message asking for it has."""
    asked = []

    def ask(pipeline, **options):
        asked.append(pipeline)
        grower.publish("a.png", json.dumps({"options": options}).encode(), pipeline=pipeline)
        summary = grower.wait_for_summaries(len(asked), "process_message")[-1]
        assert (summary["verdict"], summary["pipeline"]) == ("done", pipeline), summary
        result = grower.result("a.png")
        validate(result)
        assert result["pipeline"] == pipeline
        return result

    return ask


def test_a_message_asks_for_each_built_in_pipeline(grower, ask):
    segmented = ask("segment")
    assert (segmented["counts"], "detections" in segmented) == ({"bed": 2}, False)
    assert [each["area"] for each in segmented["segments"]] == [36 * 64, 40 * 64]

    sliced = ask("sahi_detect", slice_size=[64, 48], overlap=0.5)
    assert (sliced["counts"], set(sliced["models"])) == ({"plant": 4, "tray": 1}, {"detect"})
    assert min(each["box"] for each in sliced["detections"]) == [4, 4, 14, 14]

    classified = ask("classify", top_k=1)
    assert len(classified["classification"]) == 1
    assert classified["counts"] == {}

    counted = ask("count")
    assert counted["counts"] == {"plant": 3, "tray": 1}
    assert [each["counts"] for each in counted["segments"]] == [{"plant": 2, "tray": 1}, {"plant": 1}]
    assert set(counted["models"]) == {"detect", "segment"}
    digests = {each["pipeline_digest"] for each in (segmented, sliced, classified, counted)}
    assert len(digests) == 4

    grower.publish("a.png", pipeline="count")
    assert grower.wait_for_summaries(5, "process_message")[-1]["verdict"] == "duplicate"


def test_a_tenant_s_own_pipeline_is_asked_for_by_its_name(grower, ask):
    grower.put_pipelines(
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
    result = ask("largest-bed")
    [segment] = result["segments"]
    assert (segment["area"], segment["counts"], result["counts"]) == (40 * 64, {"plant": 1}, {"plant": 1})
    assert sum(segment["run_lengths"]["counts"][1::2]) == 40 * 64
    assert [each["bands"] for each in result["sizes"]] == [{"all": 1}]
    status, _ = grower.request("a.png", pipeline="largest-bed")
    assert status == 200


def test_a_mistake_in_pipelines_json_is_told_with_its_place(grower):
    grower.put_pipelines(
        {"mine": {"steps": [{"step": "segment"}, {"step": "segment_filter", "options": {"min_area": "5"}}]}}
    )
    grower.publish("a.png", pipeline="mine", request_id="order-7")
    attributes, data = grower.wait_for_error()
    assert (attributes["status"], attributes["error"]) == ("400", "invalid_pipeline")
    assert data["message"] == "pipelines.json, at mine.steps[1].options.min_area: '5' is not of type 'number'"
    assert data["request_id"] == "order-7"
    status, answer = grower.request("a.png", pipeline="mine")
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
def test_what_no_pipeline_can_do_is_said(pipeline, options, sentence, grower):
    status, answer = grower.request("a.png", pipeline=pipeline, options=options)
    problem = json.loads(answer)
    assert (status, problem["error"]) == (400, "invalid_pipeline")
    assert problem["detail"].startswith(sentence)


def test_without_a_segment_model_counting_is_a_400(tenant):
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
def test_a_stranger_s_text_comes_back_as_a_problem_and_not_as_a_bug(text, grower, post, stack):
    body = f'{{"tenant_id": "{grower.id}", "image": "a.png", "options": {{"labels": ["{text}"]}}}}'.encode()
    status, answer = post(stack.url("process_request"), {"content-type": "application/json"}, body)
    assert status == 400
    assert json.loads(answer)["error"] in {"invalid_event", "invalid_pipeline"}
