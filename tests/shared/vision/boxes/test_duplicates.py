"""Duplicates: boxes of one object that was detected in two segments."""

import numpy as np
import pytest

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
