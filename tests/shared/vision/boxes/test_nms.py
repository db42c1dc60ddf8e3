"""Non-maximum suppression: the strongest of each class remains, and thresholds are strict."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import DeadlineExceeded
from shared.runtime import deadline
from shared.vision.arrays import BoolArray, Float32Array
from shared.vision.boxes import nms as suppression
from shared.vision.boxes.detections import Detections

Box = list[float]  # x1, y1, x2, y2
Row = tuple[Box, float, int]  # box, confidence, class id

A: Box = [0, 0, 10, 10]
NEAR_A: Box = [0, 0, 10, 8]  # its IoU with A is 0.8
FAR: Box = [100, 100, 110, 110]
POINT: Box = [3, 3, 3, 3]


def nms(candidates: Detections, **options: Any) -> Detections:
    return candidates[suppression.nms(candidates, **options)]


def detections(*rows: Row) -> Detections:
    boxes = np.array([row[0] for row in rows], np.float32).reshape(-1, 4)
    confidences = np.array([row[1] for row in rows], np.float32)
    return Detections(boxes, confidences, np.array([row[2] for row in rows], np.int64))


def iou(a: Box, b: Box) -> float:
    width = max(min(a[2], b[2]) - max(a[0], b[0]), 0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
    return width * height / union


@pytest.mark.parametrize(
    ("candidates", "kept"),
    [
        pytest.param([], [], id="no boxes"),
        pytest.param([(A, 0.5, 0)], [0], id="one box"),
        pytest.param([(A, 0.5, 0), (NEAR_A, 0.9, 0)], [1], id="stronger box suppresses"),
        pytest.param([(A, 0.5, 0), (NEAR_A, 0.9, 1)], [1, 0], id="other class"),
        pytest.param([(A, 0.5, 0), (FAR, 0.9, 0)], [1, 0], id="apart"),
        pytest.param([(A, 0.5, 0), (A, 0.5, 0)], [0], id="equal boxes"),
        pytest.param([(POINT, 0.5, 0), (POINT, 0.4, 0)], [0, 1], id="boxes without an area"),
    ],
)
def test_nms_keeps_the_strongest_of_each_class(candidates: list[Row], kept: list[int]) -> None:
    survivors = nms(detections(*candidates), iou_threshold=0.7, max_detections=300)

    expected = detections(*[candidates[index] for index in kept])
    np.testing.assert_array_equal(survivors.boxes_xyxy, expected.boxes_xyxy)
    np.testing.assert_array_equal(survivors.confidences, expected.confidences)
    np.testing.assert_array_equal(survivors.class_ids, expected.class_ids)


@pytest.mark.parametrize(("threshold", "count"), [(0.79, 1), (0.8, 2), (0.81, 2)])
def test_nms_keeps_a_box_with_an_iou_of_exactly_the_threshold(threshold: float, count: int) -> None:
    # The IoU of 0.8 is not exact in float32, so the threshold is computed by the same arithmetic.
    exact = float(np.float32(80) / np.float32(100))
    threshold = exact if threshold == 0.8 else threshold
    pair = detections((A, 0.9, 0), (NEAR_A, 0.8, 0))

    assert len(nms(pair, iou_threshold=threshold, max_detections=300)) == count


def test_class_agnostic_nms_suppresses_across_classes() -> None:
    pair = detections((A, 0.9, 0), (NEAR_A, 0.8, 1))

    assert len(nms(pair, iou_threshold=0.7, max_detections=300, class_agnostic=True)) == 1


def test_nms_keeps_no_more_than_max_detections() -> None:
    rows: list[Row] = [([i * 20, 0, i * 20 + 10, 10], 0.5 + i / 100, 0) for i in range(10)]
    many = detections(*rows)

    survivors = nms(many, iou_threshold=0.7, max_detections=3)

    assert survivors.confidences.tolist() == pytest.approx([0.59, 0.58, 0.57])


BOX = st.tuples(*[st.integers(0, 60)] * 2, *[st.integers(1, 40)] * 2)  # x, y, width, height


@given(st.lists(st.tuples(BOX, st.floats(0.25, 1, width=32), st.integers(0, 2)), max_size=40))
def test_survivors_do_not_overlap_and_each_box_overlaps_a_survivor(
    rows: list[tuple[tuple[int, int, int, int], float, int]],
) -> None:
    boxes: list[Row] = [([x, y, x + w, y + h], c, k) for (x, y, w, h), c, k in rows]

    survivors = nms(detections(*boxes), iou_threshold=0.5, max_detections=300)

    alive = list(zip(survivors.boxes_xyxy.tolist(), survivors.confidences, survivors.class_ids, strict=True))
    for index, (box, _, k) in enumerate(alive):
        assert all(iou(box, other) <= 0.5 + 1e-6 for other, _, j in alive[index + 1 :] if j == k)
    for box, confidence, k in boxes:
        near = [c for other, c, j in alive if j == k and (iou(box, other) > 0.5 - 1e-6 or other == box)]
        assert near, (box, confidence, k)
        assert max(near) >= np.float32(confidence)


@pytest.mark.parametrize("min_kept_for_pairs", [0, 70, 10_000])
@pytest.mark.parametrize("max_matching_pairs", [1, 1 << 24])
@pytest.mark.parametrize(("count", "clusters"), [(64, 9), (65, 65), (300, 20), (300, 250), (2500, 90)])
def test_nms_of_many_boxes_equals_one_box_at_a_time(
    count: int,
    clusters: int,
    min_kept_for_pairs: int,
    max_matching_pairs: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(suppression, "_MIN_KEPT_FOR_PAIRS", min_kept_for_pairs)
    monkeypatch.setattr("shared.vision.boxes.pairs._MAX_MATCHING_PAIRS", max_matching_pairs)
    rng = np.random.default_rng(count)
    centres, cluster = rng.uniform(20, 600, (clusters, 2)), rng.integers(0, clusters, count)
    corners = centres[cluster] + rng.normal(0, 4, (count, 2))
    sizes = rng.uniform(15, 40, (clusters, 1))[cluster]
    boxes = np.concatenate((corners, corners + sizes), axis=1).astype(np.float32)
    boxes[::31, 2] = boxes[::31, 0]  # some have no area
    confidences = np.sort(rng.random(count).astype(np.float32))[::-1]
    candidates = Detections(boxes, confidences, np.zeros(count, np.int64))
    expected: list[int] = []
    for index, box in enumerate(boxes.tolist()):
        if all(box[0] == box[2] or iou(boxes[other].tolist(), box) <= 0.6 for other in expected):
            expected.append(index)

    for max_detections in (1, 70, count):
        indices = suppression.nms(candidates, iou_threshold=0.6, max_detections=max_detections)
        assert indices.tolist() == expected[:max_detections]


def many_apart(count: int) -> Detections:
    y, x = np.divmod(np.arange(count, dtype=np.float32), np.float32(200))
    boxes = np.stack((x * 30, y * 30, x * 30 + 20, y * 30 + 20), axis=1)
    return Detections(boxes, np.linspace(1, 0.5, count, dtype=np.float32), np.zeros(count, np.int64))


def test_nms_compares_boxes_that_are_apart_in_proportion_to_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[int] = []
    overlap = suppression._overlap

    def count_pairs(first: Float32Array, second: Float32Array, iou_threshold: float) -> BoolArray:
        overlaps = overlap(first, second, iou_threshold)
        compared.append(overlaps.size)
        return overlaps

    monkeypatch.setattr(suppression, "_overlap", count_pairs)

    assert len(suppression.nms(many_apart(20_000), iou_threshold=0.7, max_detections=20_000)) == 20_000
    assert sum(compared) < 20_000 * 1000  # all pairs are ten times as many


def test_nms_asks_the_deadline() -> None:
    with deadline.fail_after(-1), pytest.raises(DeadlineExceeded):
        suppression.nms(many_apart(3), iou_threshold=0.7, max_detections=300)
