"""Decode the raw output of a detector for evaluation, with NumPy alone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from samples.scenes.scene import Floats, Ints
from testing.metrics import box_ious

NMS_IOU = 0.7


class CanvasDetections(NamedTuple):
    """The detections of one canvas, in descending order of score."""

    boxes: Floats  # (n, 4) xyxy, canvas px
    scores: Floats  # (n,)
    class_ids: Ints  # (n,)
    terms: Floats  # (n, 32) mask coefficients, or (n, 0)


def decode_output(output: Floats, classes: int, confidence: float, max_detections: int = 3000) -> CanvasDetections:
    """Return the detections above a confidence of a raw output (4 + nc (+ 32), N), after suppression."""
    scores = output[4 : 4 + classes]
    class_ids, best = scores.argmax(0), scores.max(0)
    kept = np.flatnonzero(best > confidence)
    kept = kept[np.argsort(-best[kept], kind="stable")]
    x, y, w, h = output[:4, kept]
    boxes = np.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], 1)
    alone = suppress(boxes + class_ids[kept, None] * np.float32(7680), NMS_IOU)[:max_detections]
    kept = kept[alone]
    return CanvasDetections(boxes[alone], best[kept], class_ids[kept], output[4 + classes :, kept].T)


def suppress(boxes: Floats, max_iou: float) -> Ints:
    """Return the indices that non-maximum suppression keeps of boxes in descending order of score."""
    overlaps = box_ious(boxes, boxes) > max_iou
    alive = np.ones(len(boxes), bool)
    for i in range(len(boxes)):
        if alive[i]:
            alive[i + 1 :] &= ~overlaps[i, i + 1 :]
    return np.flatnonzero(alive)
