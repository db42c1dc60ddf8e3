"""Decoding a raw head: best class, strict threshold, corners from centres."""

import numpy as np
import pytest

from shared.vision.yolo import decode_raw, xywh_to_xyxy


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
    candidates = decode_raw(head(*anchors), classes=2, confidence_threshold=0.25)
    assert len(candidates) == len(found)
    for index, (box, confidence, class_id) in enumerate(found):
        assert candidates.boxes_xyxy[index].tolist() == box
        assert candidates.confidences[index] == np.float32(confidence)
        assert candidates.class_ids[index] == class_id


def test_half_precision_comes_out_as_single():
    candidates = decode_raw(
        head([50, 40, 20, 10, 0.9, 0]).astype(np.float16), classes=2, confidence_threshold=0.25
    )
    assert candidates.boxes_xyxy.dtype == candidates.confidences.dtype == np.float32


def test_corners_of_nothing_are_nothing():
    assert xywh_to_xyxy(np.empty((0, 4), np.float32)).shape == (0, 4)
