"""Decoding a raw head: best class, strict threshold, corners from centres."""

import numpy as np
import pytest

from shared.vision.boxes import yolo
from shared.vision.boxes.yolo import xywh_to_xyxy

QUARTER = np.array([0.25, 0.25], np.float32)


def head(*anchors):
    return np.array(anchors, np.float32).reshape(-1, 6).T  # (4 + 2 classes, N)


@pytest.mark.parametrize(
    ("anchors", "found"),
    [
        ([], []),
        ([[50, 40, 20, 10, 0.1, 0.2]], []),
        ([[50, 40, 20, 10, 0.25, 0.0]], []),  # not above the threshold
        ([[50, 40, 20, 10, 0.9, 0.2]], [([40, 35, 60, 45], 0.9, 0)]),
        ([[50, 40, 20, 10, 0.3, 0.8]], [([40, 35, 60, 45], 0.8, 1)]),
        ([[50, 40, 20, 10, 0.5, 0.5]], [([40, 35, 60, 45], 0.5, 0)]),
    ],
)
def test_an_anchor_is_of_its_best_class(anchors, found):
    candidates, _ = yolo.decode_raw(head(*anchors), QUARTER)
    assert len(candidates) == len(found)
    for index, (box, confidence, class_id) in enumerate(found):
        assert candidates.boxes_xyxy[index].tolist() == box
        assert candidates.confidences[index] == np.float32(confidence)
        assert candidates.class_ids[index] == class_id


def test_half_precision_comes_out_as_single():
    candidates, _ = yolo.decode_raw(head([50, 40, 20, 10, 0.9, 0]).astype(np.float16), QUARTER)
    assert candidates.boxes_xyxy.dtype == candidates.confidences.dtype == np.float32


def test_corners_of_nothing_are_nothing():
    assert xywh_to_xyxy(np.empty((0, 4), np.float32)).shape == (0, 4)


@pytest.mark.parametrize(
    ("thresholds", "count"),
    [
        ((0.25, 0.25), 2),
        ((0.85, 0.25), 2),
        ((0.9, 0.25), 1),
        ((np.inf, 0.25), 1),
        ((0.25, np.inf), 1),
        ((1, 1), 0),
    ],
)
def test_each_class_has_its_threshold(thresholds, count):
    output = head([50, 40, 20, 10, 0.9, 0.2], [90, 40, 20, 10, 0.3, 0.8])
    assert len(yolo.decode_raw(output, np.array(thresholds, np.float32))[0]) == count


def test_mask_coefficients_stay_with_their_boxes():
    output = np.concatenate((head([50, 40, 20, 10, 0.1, 0.2], [90, 40, 20, 10, 0.3, 0.8]), [[1, 2], [3, 4]]))
    candidates, coefficients = yolo.decode_raw(output.astype(np.float32), QUARTER)
    assert len(candidates) == 1
    assert coefficients.tolist() == [[2, 4]]


def test_v5_multiplies_objectness():
    rows = np.array([[50, 40, 20, 10, 0.5, 0.9, 0.1, 7], [50, 40, 20, 10, 0.2, 1, 1, 8]], np.float32)
    candidates, coefficients = yolo.decode_v5(rows, QUARTER)
    assert candidates.boxes_xyxy.tolist() == [[40, 35, 60, 45]]
    assert candidates.confidences == pytest.approx([0.45])
    assert coefficients.tolist() == [[7]]


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ([], []),
        ([[0, 0, 0, 0, 0, 0]], []),
        ([[40, 35, 60, 45, 0.9, 1]], [1]),
        ([[40, 35, 60, 45, 0.9, 7]], []),  # a class that there is not
        ([[40, 35, 60, 45, 0.9, -1]], []),
        ([[40, 35, 60, 45, np.nan, 1]], []),
    ],
)
def test_end_to_end_rows_are_boxes_already(rows, found):
    candidates, _ = yolo.decode_end_to_end(np.array(rows, np.float32).reshape(-1, 6), QUARTER)
    assert candidates.class_ids.tolist() == found
    assert candidates.boxes_xyxy.tolist() == [[40, 35, 60, 45]] * len(found)


@pytest.mark.parametrize(("classes", "found"), [(1, []), (41, []), (42, [41]), (10_000, [41])])
def test_end_to_end_knows_as_many_classes_as_it_is_given_thresholds(classes, found):
    thresholds = np.full(classes, 0.25, np.float32)
    candidates, _ = yolo.decode_end_to_end(np.array([[0, 0, 9, 9, 0.9, 41]], np.float32), thresholds)
    assert candidates.class_ids.tolist() == found


def test_rtdetr_boxes_are_shares_of_the_canvas():
    rows = np.array([[0.5, 0.5, 0.25, 0.5, 0.9, 1]], np.float32)
    assert yolo.decode_rtdetr(rows, QUARTER, (320, 640))[0].boxes_xyxy.tolist() == [[240, 80, 400, 240]]
    raw = np.array([[0.5, 0.5, 0.25, 0.5, 0.1, 0.9]], np.float32)
    candidates, _ = yolo.decode_rtdetr_raw(raw, QUARTER, (320, 640))
    assert candidates.boxes_xyxy.tolist() == [[240, 80, 400, 240]]
    assert candidates.class_ids.tolist() == [1]


def test_corners_of_half_precision_are_of_half_precision():
    """From 512 px on that is every half pixel: 600.5 - 20.25 is between two, and rounded to the even one."""
    output = np.array([[600.5], [100], [40.5], [20], [0.5]], np.float16)
    found, _ = yolo.decode_raw(output, np.array([0.25], np.float32))
    assert found.boxes_xyxy.dtype == np.float32
    assert found.boxes_xyxy.tolist() == [[580.0, 90, 621.0, 110]]
