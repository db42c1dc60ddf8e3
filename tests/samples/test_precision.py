"""The yardstick: average precision and suppression on cases one can do by hand."""

from __future__ import annotations

import numpy as np
import pytest

from samples.training.canvases import letterboxed
from samples.training.detections import decoded, suppressed
from testing.metrics import ClassMatches, average_precision, box_ious, match_detections, mean_average_precision


def boxes(*rows):
    return np.array(rows, np.float32).reshape(-1, 4)


@pytest.mark.parametrize(
    ("hits", "truths", "expected"),
    [
        ([], 3, 0.0),
        ([True, True], 2, 1.0),
        ([True], 2, 51 / 101),
        ([False, True], 1, 0.5),
        ([False, False], 5, 0.0),
    ],
)
def test_average_precision(hits, truths, expected):
    assert average_precision(np.array(hits, bool), truths) == pytest.approx(expected)


def test_nothing_to_find_has_no_precision():
    map50, map50_95 = mean_average_precision([ClassMatches()])
    assert np.isnan(map50)
    assert np.isnan(map50_95)


def test_a_truth_is_taken_once_and_by_the_surer():
    overlaps = np.array([[0.8], [0.95]], np.float32)
    assert match_detections(overlaps)[:, 0].tolist() == [True, False]


def test_a_perfect_answer_scores_one():
    ledger, true = ClassMatches(), boxes([0, 0, 10, 10], [20, 0, 30, 10])
    ledger.add(box_ious(true, true), np.array([0.9, 0.8], np.float32))
    assert mean_average_precision([ledger]) == pytest.approx((1.0, 1.0))


def test_suppression_keeps_what_overlaps_little():
    given = boxes([0, 0, 10, 10], [0, 1, 10, 11], [6, 0, 16, 10])
    assert suppressed(given, 0.7).tolist() == [0, 2]
    assert suppressed(boxes(), 0.7).tolist() == []


def test_a_raw_output_without_anything_gives_nothing():
    found = decoded(np.zeros((6, 40), np.float32), 2, 0.25)
    assert found.boxes.shape == (0, 4)


@pytest.mark.parametrize("size_wh", [(640, 480), (480, 640), (4000, 300), (33, 64), (640, 640)])
def test_points_go_onto_the_canvas_and_back(size_wh):
    canvas, fit = letterboxed(np.zeros((size_wh[1], size_wh[0], 3), np.uint8))
    corners = np.array([[0, 0, *size_wh], [3, 5, 20, 30]], np.float32)
    assert canvas.shape == (640, 640, 3)
    assert np.allclose(fit.back(fit.onto(corners)), corners, atol=1e-2)
    x1, y1, x2, y2 = fit.onto(corners[:1])[0].round().astype(int)
    assert (canvas[y1:y2, x1:x2] == 0).all()
    assert (canvas[:y1] == 114).all()
    assert (canvas[:, x2:] == 114).all()
