"""Tests that parts of one segment from several tiles are joined, and neighbours are not."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from shared.config import Config
from shared.errors import ImageTooLarge, InvalidPipeline
from shared.processing_context import ProcessingContext
from shared.processors.sliced_processor import SliceOptions
from shared.steps.join_segments_step import JoinSegmentsStep
from shared.steps.sahi_detection_step import SAHIDetectionStep
from shared.vision.boxes.detections import Detections
from shared.vision.masks import masks
from shared.vision.masks.masks import Mask
from shared.vision.masks.segments import Segments
from testing import models
from testing.memory_store import PutModel
from testing.present import present
from testing.scenes import Rectangle, scene

CONFIG = Config(gcs_bucket="b", error_topic="e")
IMAGE_HW = (60, 100)


def segmented_context(*rectangles: Any, segment_index: list[int] | None = None) -> ProcessingContext:
    """Return a context of segments: x1, y1, x2, y2 and perhaps a class; in descending confidence."""
    boxes = [each[:4] for each in rectangles]
    class_ids = [each[4] if len(each) > 4 else 0 for each in rectangles]
    confidences = np.linspace(0.9, 0.5, len(rectangles), dtype=np.float32)
    segments = Segments(
        Detections(np.array(boxes, np.float32).reshape(-1, 4), confidences, np.array(class_ids, np.int64)),
        tuple(Mask(x1, y1, np.ones((y2 - y1, x2 - x1), bool)) for x1, y1, x2, y2 in boxes),
    )
    ctx = ProcessingContext(tenant_id="tenant-001", image=scene(IMAGE_HW), segments=segments)
    return ctx if segment_index is None else replace(ctx, segment_index=np.array(segment_index, np.int64))


@pytest.mark.parametrize(
    ("rectangles", "boxes"),
    [
        pytest.param([], [], id="none"),
        pytest.param([(0, 0, 10, 10)], [(0, 0, 10, 10)], id="one"),
        pytest.param([(0, 0, 50, 10), (40, 0, 90, 10)], [(0, 0, 90, 10)], id="a fifth in common"),
        pytest.param([(0, 0, 50, 10), (45, 0, 95, 10)], [(0, 0, 95, 10)], id="a tenth is enough"),
        pytest.param([(0, 0, 50, 10), (46, 0, 96, 10)], [(0, 0, 50, 10), (46, 0, 96, 10)], id="less is not"),
        pytest.param([(0, 0, 50, 10), (50, 0, 99, 10)], [(0, 0, 50, 10), (50, 0, 99, 10)], id="only touching"),
        pytest.param([(0, 0, 50, 10), (0, 30, 50, 40)], [(0, 0, 50, 10), (0, 30, 50, 40)], id="apart"),
        pytest.param([(0, 0, 50, 10), (10, 0, 20, 10)], [(0, 0, 50, 10)], id="one in the other"),
        pytest.param([(0, 0, 50, 10), (40, 0, 90, 10, 1)], [(0, 0, 50, 10), (40, 0, 90, 10)], id="of two classes"),
        pytest.param(
            [(0, 0, 30, 10), (50, 0, 80, 10), (25, 0, 55, 10)], [(0, 0, 80, 10)], id="by the one between them"
        ),
        pytest.param([(0, 0, 0, 0), (0, 0, 9, 9)], [(0, 0, 0, 0), (0, 0, 9, 9)], id="nothing of it in its box"),
    ],
)
def test_segments_with_enough_overlap_are_joined(rectangles: Sequence[Rectangle], boxes: Any) -> None:
    after = present(JoinSegmentsStep.from_json({}, CONFIG).execute(segmented_context(*rectangles)).segments)
    assert [tuple(box) for box in present(after.detections).boxes_xyxy.tolist()] == boxes
    assert after.areas.tolist() == [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in boxes]


def test_joined_segment_has_the_highest_confidence() -> None:
    after = JoinSegmentsStep().execute(segmented_context((0, 0, 50, 10), (0, 20, 9, 29), (40, 0, 90, 10)))
    assert present(after.segments).detections.confidences.tolist() == pytest.approx([0.9, 0.7])


@pytest.mark.parametrize(("threshold", "count"), [(0.2, 1), (0.21, 2), (1, 2)])
def test_threshold_option_decides_what_is_joined(threshold: float, count: int) -> None:
    step = JoinSegmentsStep.from_json({"threshold": threshold}, CONFIG)
    assert len(present(step.execute(segmented_context((0, 0, 50, 10), (40, 0, 90, 10))).segments)) == count


def test_masks_apart_with_overlapping_boxes_are_not_joined() -> None:
    ctx = segmented_context((0, 0, 40, 40), (10, 0, 50, 40))
    band = np.abs(np.subtract.outer(np.arange(40), np.arange(40))) < 4  # along the diagonal
    parts = tuple(replace(mask, pixels=band) for mask in present(ctx.segments).masks)
    ctx = replace(ctx, segments=replace(present(ctx.segments), masks=parts))
    assert len(present(JoinSegmentsStep().execute(ctx).segments)) == 2


def test_segment_index_is_renumbered() -> None:
    ctx = segmented_context((0, 0, 50, 10), (0, 20, 50, 30), (40, 0, 90, 10), segment_index=[2, -1, 1, 0, 2])
    assert present(JoinSegmentsStep().execute(ctx).segment_index).tolist() == [0, -1, 1, 0, 0]


def test_segments_in_any_order_are_joined() -> None:
    ctx = segmented_context((0, 0, 50, 10), (40, 0, 90, 10), (0, 20, 50, 30), segment_index=[0, 1, 2])
    reversed_ctx = replace(
        ctx, segments=present(ctx.segments)[np.array([2, 1, 0])], segment_index=np.array([0, 1, 2])
    )
    after = JoinSegmentsStep().execute(reversed_ctx)
    assert present(after.segments).detections.boxes_xyxy[after.segment_index].tolist() == [
        [0, 20, 50, 30],
        [0, 0, 90, 10],
        [0, 0, 90, 10],
    ]


def test_parts_of_a_segment_from_tiles_are_joined(put_model: PutModel) -> None:
    """The segmenter finds one segment in each tile, which fills it."""
    put_model(models.segment([(0, 0.9, np.ones((40, 40), bool))]), "segment")
    image = scene((40, 100), [(x, 39, x + 1, 40) for x in range(100)])
    slices = SliceOptions(slice_hw=(40, 40), overlap=0.25, full_image=False)
    ctx = ProcessingContext(tenant_id="tenant-001", image=image)
    sliced = SAHIDetectionStep.from_json(
        {"model": "segment", "slice_size": 40, "overlap": 0.25, "full_image": False}, CONFIG
    )
    assert sliced.slices == slices
    tiled = sliced.execute(ctx)
    assert len(present(tiled.segments)) == 3
    [box] = present(JoinSegmentsStep().execute(tiled).segments).detections.boxes_xyxy.tolist()
    assert box == [0, 0, 100, 40]


def test_context_without_segments_is_rejected() -> None:
    with pytest.raises(InvalidPipeline, match="join_segments needs a step before it that segments"):
        JoinSegmentsStep().execute(ProcessingContext(tenant_id="tenant-001", image=scene(IMAGE_HW)))


def test_too_large_masks_are_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masks, "MAX_MASK_PIXELS", 500)
    with pytest.raises(ImageTooLarge, match="900 px together"):
        JoinSegmentsStep().execute(segmented_context((0, 0, 50, 10), (40, 0, 90, 10)))
