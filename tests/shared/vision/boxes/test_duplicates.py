"""Duplicates: boxes of one object that was detected in two segments."""

import numpy as np
import pytest

from shared.errors import DeadlineExceeded
from shared.runtime import deadline
from shared.vision.arrays import Int64Array
from shared.vision.boxes.detections import Detections
from shared.vision.boxes.duplicates import deduplicate

# x1, y1, x2, y2, confidence, class id, segment index
Row = tuple[float, float, float, float, float, int, int]


@pytest.mark.parametrize(
    ("rows", "kept"),
    [
        pytest.param([], [], id="no boxes"),
        pytest.param([(0, 0, 10, 10, 0.9, 0, 0), (0, 0, 10, 10, 0.8, 0, 1)], [0], id="first is stronger"),
        pytest.param([(0, 0, 10, 10, 0.8, 0, 0), (0, 0, 10, 10, 0.9, 0, 1)], [1], id="second is stronger"),
        pytest.param([(0, 0, 10, 10, 0.9, 0, 0), (0, 0, 10, 10, 0.8, 0, 0)], [0, 1], id="same segment"),
        pytest.param([(0, 0, 10, 10, 0.9, 0, 0), (0, 0, 10, 10, 0.8, 1, 1)], [0, 1], id="other class"),
        pytest.param([(0, 0, 10, 10, 0.9, 0, 0), (10, 0, 20, 10, 0.8, 0, 1)], [0, 1], id="boxes only touch"),
        pytest.param([(0, 0, 10, 10, 0.9, 0, 0), (5, 0, 10, 10, 0.8, 0, 1)], [0], id="part of the other"),
        pytest.param([(0, 0, 10, 10, 0.9, 0, 0), (6, 0, 16, 10, 0.8, 0, 1)], [0, 1], id="IoS below a half"),
        pytest.param([(0, 0, 0, 0, 0.9, 0, 0), (0, 0, 0, 0, 0.8, 0, 1)], [0, 1], id="boxes without an area"),
        pytest.param(
            [(0, 0, 10, 10, 0.9, 0, 0), (4, 0, 14, 10, 0.8, 0, 1), (8, 0, 18, 10, 0.7, 0, 0)],
            [0, 2],
            id="suppressed box suppresses no other",
        ),
    ],
)
def test_deduplicate_keeps_stronger_of_two_boxes_from_different_segments(rows: list[Row], kept: list[int]) -> None:
    table = np.array(rows, np.float32).reshape(-1, 7)
    detections = Detections(table[:, :4], table[:, 4], table[:, 5].astype(np.int64))

    indices = deduplicate(detections, table[:, 6].astype(np.int64), class_agnostic=False)

    assert indices.tolist() == kept


def test_deduplicate_across_classes_if_class_agnostic() -> None:
    detections = Detections(
        np.array([[0, 0, 9, 9]] * 2, np.float32), np.array([0.5, 0.6], np.float32), np.array([0, 1], np.int64)
    )

    assert deduplicate(detections, np.array([0, 1]), class_agnostic=True).tolist() == [1]


def deduplicated_by_definition(detections: Detections, segment_index: Int64Array) -> list[int]:
    """Compare one pair of boxes at a time, strongest first."""
    boxes = detections.boxes_xyxy.tolist()
    kept: list[int] = []
    for index in detections.order().tolist():
        left, top, right, bottom = boxes[index]
        for other in kept:
            x1, y1, x2, y2 = boxes[other]
            intersection = max(min(x2, right) - max(x1, left), 0) * max(min(y2, bottom) - max(y1, top), 0)
            smaller = min((right - left) * (bottom - top), (x2 - x1) * (y2 - y1))
            same = detections.class_ids[index] == detections.class_ids[other]
            if same and segment_index[index] != segment_index[other] and intersection >= smaller / 2 > 0:
                break
        else:
            kept.append(index)
    return kept


@pytest.mark.parametrize("side", [6, 40, 400])
@pytest.mark.parametrize("max_matching_pairs", [10, 1 << 24])
@pytest.mark.parametrize("min_dense_pairs", [0, 1 << 24])
def test_deduplicate_equals_one_pair_at_a_time(
    side: int, max_matching_pairs: int, min_dense_pairs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.vision.boxes.pairs._MAX_MATCHING_PAIRS", max_matching_pairs)
    monkeypatch.setattr("shared.vision.boxes.pairs._MIN_DENSE_PAIRS", min_dense_pairs)
    rng = np.random.default_rng(side)
    corners = rng.integers(0, 100, (300, 2))
    boxes = np.concatenate((corners, corners + rng.integers(0, side, (300, 2))), axis=1).astype(np.float32)
    detections = Detections(
        boxes, rng.integers(0, 64, 300).astype(np.float32) / np.float32(64), rng.integers(0, 2, 300)
    )
    segment_index = rng.integers(0, 4, 300)

    kept = deduplicate(detections, segment_index, class_agnostic=False)

    assert kept.tolist() == deduplicated_by_definition(detections, segment_index)


@pytest.mark.parametrize("side", [pytest.param(15, id="pairs"), pytest.param(900, id="rows")])
def test_deduplicate_asks_the_deadline(side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.vision.boxes.pairs._MIN_DENSE_PAIRS", 0)
    x = np.arange(0, 1000, 10, dtype=np.float32)
    boxes = np.stack((x, 0 * x, x + side, 0 * x + 9), axis=1)
    detections = Detections(boxes, np.full(100, 0.5, np.float32), np.zeros(100, np.int64))

    with deadline.fail_after(-1), pytest.raises(DeadlineExceeded):
        deduplicate(detections, np.arange(100), class_agnostic=False)
