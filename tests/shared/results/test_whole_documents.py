"""Tests documents of whole pipelines: each is valid by the schema and repeatable."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from shared.config import Config
from shared.events import ImageRef, ImageVersion, Request
from shared.ml.model_cache import ModelCache
from shared.pipeline.definitions import PipelineRegistry
from shared.processing_context import ProcessingContext
from shared.results import documents
from shared.vision.arrays import BoolArray, Pixels
from testing import models
from testing.memory_store import MemoryStore
from testing.rle import decode_rle
from testing.scenes import BLUE, GREEN, scene

IMAGE_HW = (64, 96)
CONFIG = Config(gcs_bucket="b", error_topic="e")
NOW = datetime(2026, 11, 22, 20, 4, 46, tzinfo=UTC)


def rectangle(x1: int, y1: int, x2: int, y2: int) -> BoolArray:
    inside = np.zeros(IMAGE_HW, bool)
    inside[y1:y2, x1:x2] = True
    return inside


LEFT = rectangle(0, 0, 40, 40)
LEFT[30:34, 4:8] = False  # a hole
BEDS = ((0, 0.7, LEFT), (0, 0.9, rectangle(48, 0, 88, 40)), (1, 0.8, rectangle(0, 44, 96, 60)))
# Two in the left bed, one in the right, one on the path, one in none.
IMAGE = scene(
    IMAGE_HW,
    [
        (4, 4, 14, 14),
        (20, 10, 32, 22, BLUE),
        (60, 10, 70, 22),
        (20, 46, 30, 56),
        (88, 2, 96, 10),
        (95, 63, 96, 64, GREEN),
    ],
)


@pytest.fixture(scope="module")
def validate(root: Path) -> Callable[[Any], None]:
    return jsonschema.Draft202012Validator(
        json.loads((root / "shared/schemas/result.schema.json").read_text())
    ).validate


@pytest.fixture
def run(validate: Callable[[Any], None]) -> Iterator[Callable[..., dict[str, Any]]]:
    """Return a function that runs steps (as in pipelines.json) on an image: the valid result document."""
    store = MemoryStore()
    for model_type, data in (
        ("detect", models.blob_detector(canvas_hw=IMAGE_HW)),
        ("segment", models.segment(BEDS)),
        ("classify", models.classify()),
    ):
        store.put(f"models/tenant-001/{model_type}.onnx", data)
    ModelCache.configure(store, bucket="b", threads=1)

    def run(*steps: Any, image: Pixels = IMAGE) -> dict[str, Any]:
        made = [
            {"step": step} if isinstance(step, str) else {"step": step[0], "options": step[1]} for step in steps
        ]
        store.put("models/tenant-001/pipelines.json", json.dumps({"mine": {"steps": made}}).encode())
        plan = PipelineRegistry(store, CONFIG).plan("tenant-001", "mine", {})
        ctx = ProcessingContext(tenant_id="tenant-001", image=image)
        for step in plan.steps:
            ctx = step.execute(ctx)
        request = Request(
            tenant_id="tenant-001",
            image=ImageRef("b", "uploads/tenant-001/a.png", 7),
            pipeline="mine",
            event_id="e",
        )
        image_version = ImageVersion(request.image.bucket, request.image.name, 7)
        findings = documents.findings("tenant-001", image_version, "mine", ctx, pipeline_digest=plan.digest)
        parsed: dict[str, Any] = json.loads(
            documents.complete(documents.to_json(findings), request, created_at=NOW, timings_ms={"total": 1.0})
        )
        validate(parsed)
        return parsed

    yield run
    ModelCache.clear_cache()


STEP_LISTS = [
    ["detect"],
    ["segment"],
    [("segment", {"resolution": "image", "run_lengths": True})],
    [("segment", {"run_lengths": True})],
    ["sahi_detect"],
    [("sahi_detect", {"slice_size": 48, "overlap": 0.5})],
    ["classify"],
    ["segment", ("segment_filter", {"labels": ["bed"], "largest": 1})],
    ["segment", "join_segments", "within_segments", "aggregate"],
    ["segment", "within_segments", "join_segments", "aggregate"],
    ["segment", "within_segments"],
    ["segment", "within_segments", "aggregate"],
    ["segment", "detect", "aggregate", "size_statistics"],
    ["detect", "segment", "aggregate", ("size_statistics", {"of": "segments"})],
    ["segment", "within_segments", "aggregate", ("segment_filter", {"min_area": 1550}), "size_statistics"],
    ["segment", "within_segments", "aggregate", "detect"],
    ["segment", "within_segments", "segment", "aggregate"],
    ["segment", "aggregate", "within_segments"],
    ["classify", "detect", "segment", "aggregate", "size_statistics"],
]


@pytest.mark.parametrize(
    "image",
    [IMAGE, scene((64, 96)), scene((1, 1)), scene((31, 33), [(4, 4, 20, 20)])],
    ids=["scene", "black", "a pixel", "small"],
)
@pytest.mark.parametrize("steps", STEP_LISTS, ids=str)
def test_any_order_of_steps_gives_a_valid_repeatable_document(
    steps: list[Any], image: Pixels, run: Callable[..., dict[str, Any]]
) -> None:
    first, second = run(*steps, image=image), run(*steps, image=image)
    assert documents.to_json(first) == documents.to_json(second)
    names = [step if isinstance(step, str) else step[0] for step in steps]
    assert ("detections" in first) == bool({"detect", "sahi_detect", "within_segments"} & set(names))
    assert ("segments" in first) == ("segment" in names)
    assert ("classification" in first) == ("classify" in names)
    assert ("sizes" in first) == ("size_statistics" in names)


def test_segments_are_sorted_with_polygons_and_areas(run: Callable[..., dict[str, Any]]) -> None:
    document = run(("segment", {"resolution": "image"}))
    assert [(each["label"], each["confidence"], each["area"]) for each in document["segments"]] == [
        ("bed", 0.9, 1600),
        ("path", 0.8, 1536),
        ("bed", 0.7, 1584),
    ]
    assert document["counts"] == {"bed": 2, "path": 1}
    holed = document["segments"][2]
    assert holed["box"] == [0, 0, 40, 40]
    [[outer, hole]] = holed["polygons"]
    assert outer[0] == outer[-1]
    assert hole[0] == hole[-1]
    assert all(0 <= x <= 96 and 0 <= y <= 64 for x, y in (*outer, *hole))


def test_run_lengths_encode_the_mask(run: Callable[..., dict[str, Any]]) -> None:
    for options in ({"resolution": "image"}, {"resolution": "canvas"}):
        document = run(("segment", {"run_lengths": True, **options}))
        for each in document["segments"]:
            assert each["run_lengths"]["size"] == list(IMAGE_HW)
            mask = decode_rle(each["run_lengths"]["counts"], IMAGE_HW)
            assert int(mask.sum()) == pytest.approx(each["area"], rel=0.01)
        np.testing.assert_array_equal(
            decode_rle(
                run(("segment", {"run_lengths": True, "resolution": "image"}))["segments"][2]["run_lengths"][
                    "counts"
                ],
                IMAGE_HW,
            ),
            LEFT,
        )


def test_counts_are_per_segment_and_in_total(run: Callable[..., dict[str, Any]]) -> None:
    document = run(("segment", {"resolution": "image"}), "detect", "aggregate")
    assert [(each["label"], each["counts"]) for each in document["segments"]] == [
        ("bed", {"plant": 1}),
        ("path", {"plant": 1}),
        ("bed", {"plant": 1, "tray": 1}),
    ]
    assert document["counts"] == {"plant": 4, "tray": 1}
    segment_by_corner = {tuple(each["box"][:2]): each["segment"] for each in document["detections"]}
    assert segment_by_corner == {(4, 4): 2, (20, 10): 2, (60, 10): 0, (20, 46): 1, (88, 2): None}


def test_within_segments_skips_filtered_segments(run: Callable[..., dict[str, Any]]) -> None:
    document = run(
        ("segment", {"resolution": "image"}),
        ("segment_filter", {"labels": ["bed"]}),
        "within_segments",
        "aggregate",
    )
    assert document["counts"] == {"plant": 2, "tray": 1}
    assert [each["counts"] for each in document["segments"]] == [{"plant": 1}, {"plant": 1, "tray": 1}]
    assert all(each["segment"] in {0, 1} for each in document["detections"])
    assert set(document["models"]) == {"detect", "segment"}


def test_counts_per_segment_need_the_aggregate_step(run: Callable[..., dict[str, Any]]) -> None:
    document = run("segment", "detect")
    assert not any("counts" in each for each in document["segments"])
    assert not any("segment" in each for each in document["detections"])


def test_sizes_are_per_label(run: Callable[..., dict[str, Any]]) -> None:
    document = run("detect", ("size_statistics", {"bands": [{"name": "few", "below": 0}, {"name": "many"}]}))
    assert [(each["label"], each["count"], each["mean_area"]) for each in document["sizes"]] == [
        ("plant", 4, 96.0),
        ("tray", 1, 144.0),
    ]
    assert document["sizes"][0]["standard_deviation"] == pytest.approx(np.std([100, 120, 100, 64]), abs=0.06)
    assert document["sizes"][0]["bands"] == {"few": 1, "many": 3}


def test_classification_is_sorted_by_confidence(run: Callable[..., dict[str, Any]]) -> None:
    document = run(("classify", {"top_k": 2}), image=scene((9, 9), [(0, 0, 9, 9, BLUE)]))
    assert [each["label"] for each in document["classification"]] == ["blue", "red"]
    assert document["counts"] == {}
