"""Decoding of each output layout: best class, strict thresholds, corners from centres, mask coefficients."""

import numpy as np
import pytest

from shared.errors import InvalidModel
from shared.vision.arrays import Float32Array
from shared.vision.boxes import yolo
from shared.vision.boxes.yolo import xywh_to_xyxy

QUARTER = np.array([0.25, 0.25], np.float32)


def raw_output(*anchors: list[float]) -> Float32Array:
    """Return (4 + 2 classes, N) from rows of centre x, centre y, width, height and two scores."""
    return np.array(anchors, np.float32).reshape(-1, 6).T


@pytest.mark.parametrize(
    ("anchors", "expected"),
    [
        pytest.param([], [], id="no anchors"),
        pytest.param([[50, 40, 20, 10, 0.1, 0.2]], [], id="below the threshold"),
        pytest.param([[50, 40, 20, 10, 0.25, 0.0]], [], id="exactly the threshold"),
        pytest.param([[50, 40, 20, 10, 0.9, 0.2]], [([40, 35, 60, 45], 0.9, 0)], id="first class"),
        pytest.param([[50, 40, 20, 10, 0.3, 0.8]], [([40, 35, 60, 45], 0.8, 1)], id="second class is better"),
        pytest.param([[50, 40, 20, 10, 0.5, 0.5]], [([40, 35, 60, 45], 0.5, 0)], id="equal scores"),
    ],
)
def test_raw_anchor_becomes_candidate_of_its_best_class(
    anchors: list[list[float]], expected: list[tuple[list[float], float, int]]
) -> None:
    candidates, _ = yolo.decode_raw(raw_output(*anchors), QUARTER)

    assert len(candidates) == len(expected)
    for index, (box, confidence, class_id) in enumerate(expected):
        assert candidates.boxes_xyxy[index].tolist() == box
        assert candidates.confidences[index] == np.float32(confidence)
        assert candidates.class_ids[index] == class_id


def test_raw_half_precision_is_decoded_to_single_precision() -> None:
    output = raw_output([50, 40, 20, 10, 0.9, 0]).astype(np.float16)

    candidates, _ = yolo.decode_raw(output, QUARTER)

    assert candidates.boxes_xyxy.dtype == candidates.confidences.dtype == np.float32


def test_xywh_to_xyxy_of_no_boxes_is_empty() -> None:
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
def test_raw_applies_the_threshold_of_each_class(thresholds: tuple[float, float], count: int) -> None:
    output = raw_output([50, 40, 20, 10, 0.9, 0.2], [90, 40, 20, 10, 0.3, 0.8])

    candidates, _ = yolo.decode_raw(output, np.array(thresholds, np.float32))

    assert len(candidates) == count


def test_raw_mask_coefficients_stay_with_their_boxes() -> None:
    anchors = raw_output([50, 40, 20, 10, 0.1, 0.2], [90, 40, 20, 10, 0.3, 0.8])
    output = np.concatenate((anchors, [[1, 2], [3, 4]]))

    candidates, coefficients = yolo.decode_raw(output.astype(np.float32), QUARTER)

    assert len(candidates) == 1
    assert coefficients.tolist() == [[2, 4]]


def test_v5_confidence_is_objectness_times_score() -> None:
    rows = np.array([[50, 40, 20, 10, 0.5, 0.9, 0.1, 7], [50, 40, 20, 10, 0.2, 1, 1, 8]], np.float32)

    candidates, coefficients = yolo.decode_v5(rows, QUARTER)

    assert candidates.boxes_xyxy.tolist() == [[40, 35, 60, 45]]
    assert candidates.confidences == pytest.approx([0.45])
    assert coefficients.tolist() == [[7]]


@pytest.mark.parametrize(
    ("rows", "class_ids"),
    [
        pytest.param([], [], id="no rows"),
        pytest.param([[0, 0, 0, 0, 0, 0]], [], id="unused row"),
        pytest.param([[40, 35, 60, 45, 0.9, 1]], [1], id="one detection"),
        pytest.param([[40, 35, 60, 45, 0.9, 7]], [], id="unknown class"),
        pytest.param([[40, 35, 60, 45, 0.9, -1]], [], id="negative class"),
        pytest.param([[60, 45, 40, 35, 0.9, 1]], [1], id="swapped corners"),
    ],
)
def test_end_to_end_rows_are_boxes_of_known_classes(rows: list[list[float]], class_ids: list[int]) -> None:
    candidates, _ = yolo.decode_end_to_end(np.array(rows, np.float32).reshape(-1, 6), QUARTER)

    assert candidates.class_ids.tolist() == class_ids
    assert candidates.boxes_xyxy.tolist() == [[40, 35, 60, 45]] * len(class_ids)


@pytest.mark.parametrize(("classes", "class_ids"), [(1, []), (41, []), (42, [41]), (10_000, [41])])
def test_end_to_end_ignores_classes_without_a_threshold(classes: int, class_ids: list[int]) -> None:
    thresholds = np.full(classes, 0.25, np.float32)

    candidates, _ = yolo.decode_end_to_end(np.array([[0, 0, 9, 9, 0.9, 41]], np.float32), thresholds)

    assert candidates.class_ids.tolist() == class_ids


@pytest.mark.parametrize(("column", "name"), [(4, "confidences"), (5, "class ids")])
def test_end_to_end_row_that_is_not_finite_is_an_invalid_model(column: int, name: str) -> None:
    rows = np.array([[40, 35, 60, 45, 0.9, 1]] * 3, np.float32)
    rows[2, column] = np.nan

    with pytest.raises(InvalidModel, match=f"The model's {name} are not finite"):
        yolo.decode_end_to_end(rows, QUARTER)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("value", [np.nan, -np.nan, np.inf, -np.inf])
def test_value_that_is_not_finite_is_an_invalid_model(dtype: type[np.floating], value: float) -> None:
    values = np.full((3, 5), np.finfo(dtype).max, dtype)
    values[0] = 0, -0.0, -1, np.finfo(dtype).min, np.finfo(dtype).smallest_subnormal

    yolo.ensure_finite(values, "scores")
    yolo.ensure_finite(values[:0], "scores")
    values[1, 2] = value

    with pytest.raises(InvalidModel, match="The model's scores are not finite numbers"):
        yolo.ensure_finite(values, "scores")


def test_rtdetr_boxes_are_scaled_to_the_canvas() -> None:
    rows = np.array([[0.5, 0.5, 0.25, 0.5, 0.9, 1]], np.float32)

    candidates, _ = yolo.decode_rtdetr(rows, QUARTER, (320, 640))

    assert candidates.boxes_xyxy.tolist() == [[240, 80, 400, 240]]


def test_rtdetr_raw_boxes_are_scaled_to_the_canvas() -> None:
    rows = np.array([[0.5, 0.5, 0.25, 0.5, 0.1, 0.9]], np.float32)

    candidates, _ = yolo.decode_rtdetr_raw(rows, QUARTER, (320, 640))

    assert candidates.boxes_xyxy.tolist() == [[240, 80, 400, 240]]
    assert candidates.class_ids.tolist() == [1]


def test_raw_corners_of_half_precision_are_rounded_to_it() -> None:
    """Above 512, float16 has steps of a half: 600.5 - 20.25 lies between two and is rounded to the even one."""
    output = np.array([[600.5], [100], [40.5], [20], [0.5]], np.float16)

    candidates, _ = yolo.decode_raw(output, np.array([0.25], np.float32))

    assert candidates.boxes_xyxy.dtype == np.float32
    assert candidates.boxes_xyxy.tolist() == [[580.0, 90, 621.0, 110]]
