from __future__ import annotations

import numpy as np
import pytest

from samples.training.canvases import letterbox_image
from samples.training.raw_output import decode_output, suppress
from shared.vision.arrays import Float32Array
from testing.metrics import ClassMatches, average_precision, box_ious, match_detections, mean_average_precision


def boxes(*rows: list[int]) -> Float32Array:
    return np.array(rows, np.float32).reshape(-1, 4)


@pytest.mark.parametrize(
    ("hits", "truths", "expected"),
    [
        pytest.param([], 3, 0.0, id="no detections"),
        pytest.param([True, True], 2, 1.0, id="all matched"),
        pytest.param([True], 2, 51 / 101, id="half of the truths matched"),
        pytest.param([False, True], 1, 0.5, id="match after a false positive"),
        pytest.param([False, False], 5, 0.0, id="only false positives"),
    ],
)
def test_average_precision(hits: list[bool], truths: int, expected: float) -> None:
    assert average_precision(np.array(hits, bool), truths) == pytest.approx(expected)


def test_mean_average_precision_without_truths_is_nan() -> None:
    map50, map50_95 = mean_average_precision([ClassMatches()])
    assert np.isnan(map50)
    assert np.isnan(map50_95)


def test_truth_is_matched_once_by_the_detection_with_the_higher_score() -> None:
    overlaps = np.array([[0.8], [0.95]], np.float32)
    assert match_detections(overlaps)[:, 0].tolist() == [True, False]


def test_perfect_detections_have_an_average_precision_of_one() -> None:
    matches, true = ClassMatches(), boxes([0, 0, 10, 10], [20, 0, 30, 10])
    matches.add(box_ious(true, true), np.array([0.9, 0.8], np.float32))
    assert mean_average_precision([matches]) == pytest.approx((1.0, 1.0))


def test_suppression_keeps_boxes_with_a_small_overlap() -> None:
    given = boxes([0, 0, 10, 10], [0, 1, 10, 11], [6, 0, 16, 10])
    assert suppress(given, 0.7).tolist() == [0, 2]
    assert suppress(boxes(), 0.7).tolist() == []


def test_raw_output_without_scores_has_no_detections() -> None:
    detections = decode_output(np.zeros((6, 40), np.float32), 2, 0.25)
    assert detections.boxes.shape == (0, 4)


@pytest.mark.parametrize("size_wh", [(640, 480), (480, 640), (4000, 300), (33, 64), (640, 640)])
def test_letterbox_transform_and_its_inverse(size_wh: tuple[int, int]) -> None:
    canvas, fit = letterbox_image(np.zeros((size_wh[1], size_wh[0], 3), np.uint8))
    corners = np.array([[0, 0, *size_wh], [3, 5, 20, 30]], np.float32)
    assert canvas.shape == (640, 640, 3)
    assert np.allclose(fit.to_image(fit.to_canvas(corners)), corners, atol=1e-2)
    x1, y1, x2, y2 = fit.to_canvas(corners[:1])[0].round().astype(int)
    assert (canvas[y1:y2, x1:x2] == 0).all()
    assert (canvas[:y1] == 114).all()
    assert (canvas[:, x2:] == 114).all()
