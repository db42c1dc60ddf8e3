"""Suppression: the strongest of each class survives; strict thresholds; the empty case."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.vision.boxes import nms as suppression
from shared.vision.boxes.detections import Detections

A, NEAR_A, FAR = [0, 0, 10, 10], [0, 0, 10, 8], [100, 100, 110, 110]  # A and NEAR_A: IoU 0.8


def nms(candidates, **options):
    return candidates[suppression.nms(candidates, **options)]


def detections(*rows):
    boxes = np.array([row[0] for row in rows], np.float32).reshape(-1, 4)
    confidences = np.array([row[1] for row in rows], np.float32)
    return Detections(boxes, confidences, np.array([row[2] for row in rows], np.int64))


@pytest.mark.parametrize(
    ("candidates", "kept"),
    [
        ([], []),
        ([(A, 0.5, 0)], [0]),
        ([(A, 0.5, 0), (NEAR_A, 0.9, 0)], [1]),
        ([(A, 0.5, 0), (NEAR_A, 0.9, 1)], [1, 0]),
        ([(A, 0.5, 0), (FAR, 0.9, 0)], [1, 0]),
        ([(A, 0.5, 0), (A, 0.5, 0)], [0]),
        ([([3, 3, 3, 3], 0.5, 0), ([3, 3, 3, 3], 0.4, 0)], [0, 1]),  # empty boxes overlap nobody
    ],
)
def test_the_strongest_of_each_class_survives(candidates, kept):
    survivors = nms(detections(*candidates), iou_threshold=0.7, max_detections=300)
    expected = detections(*[candidates[index] for index in kept])
    np.testing.assert_array_equal(survivors.boxes_xyxy, expected.boxes_xyxy)
    np.testing.assert_array_equal(survivors.confidences, expected.confidences)
    np.testing.assert_array_equal(survivors.class_ids, expected.class_ids)


@pytest.mark.parametrize(("threshold", "count"), [(0.79, 1), (0.8, 2), (0.81, 2)])
def test_an_overlap_of_exactly_the_threshold_is_kept(threshold, count):
    # Powers of two: IoU 0.8 of float32 boxes is not exact, so the threshold is taken from the same arithmetic.
    exact = float(np.float32(80) / np.float32(100))
    threshold = exact if threshold == 0.8 else threshold
    pair = detections((A, 0.9, 0), (NEAR_A, 0.8, 0))
    assert len(nms(pair, iou_threshold=threshold, max_detections=300)) == count


def test_class_agnostic_means_across_classes():
    pair = detections((A, 0.9, 0), (NEAR_A, 0.8, 1))
    assert len(nms(pair, iou_threshold=0.7, max_detections=300, class_agnostic=True)) == 1


def test_no_more_than_asked_for():
    many = detections(*[([i * 20, 0, i * 20 + 10, 10], 0.5 + i / 100, 0) for i in range(10)])
    assert nms(many, iou_threshold=0.7, max_detections=3).confidences.tolist() == pytest.approx([0.59, 0.58, 0.57])


BOX = st.tuples(*[st.integers(0, 60)] * 2, *[st.integers(1, 40)] * 2)


@given(st.lists(st.tuples(BOX, st.floats(0.25, 1, width=32), st.integers(0, 2)), max_size=40))
def test_survivors_do_not_overlap_and_the_suppressed_overlap_a_survivor(rows):
    boxes = [([x, y, x + w, y + h], c, k) for (x, y, w, h), c, k in rows]
    survivors = nms(detections(*boxes), iou_threshold=0.5, max_detections=300)
    alive = list(zip(survivors.boxes_xyxy.tolist(), survivors.confidences, survivors.class_ids, strict=True))
    for index, (box, _, k) in enumerate(alive):
        assert all(iou(box, other) <= 0.5 + 1e-6 for other, _, j in alive[index + 1 :] if j == k)
    for box, confidence, k in boxes:
        near = [c for other, c, j in alive if j == k and (iou(box, other) > 0.5 - 1e-6 or other == box)]
        assert near, (box, confidence, k)
        assert max(near) >= np.float32(confidence)


@pytest.mark.parametrize(("count", "clusters"), [(64, 9), (65, 65), (300, 20), (300, 250), (2500, 90)])
def test_however_many_there_are_it_is_one_box_after_the_other(count, clusters):
    rng = np.random.default_rng(count)
    middles, own = rng.uniform(20, 600, (clusters, 2)), rng.integers(0, clusters, count)
    corners = middles[own] + rng.normal(0, 4, (count, 2))
    boxes = np.concatenate((corners, corners + rng.uniform(15, 40, (clusters, 1))[own]), axis=1).astype(np.float32)
    boxes[::31, 2] = boxes[::31, 0]  # some are empty
    confidences = np.sort(rng.random(count).astype(np.float32))[::-1]
    candidates = Detections(boxes, confidences, np.zeros(count, np.int64))
    expected = []
    for index, box in enumerate(boxes.tolist()):
        if all(box[0] == box[2] or iou(boxes[other].tolist(), box) <= 0.6 for other in expected):
            expected.append(index)
    for most in (1, 70, count):
        found = suppression.nms(candidates, iou_threshold=0.6, max_detections=most)
        assert found.tolist() == expected[:most]


def iou(a, b):
    width = max(min(a[2], b[2]) - max(a[0], b[0]), 0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
    return width * height / union
