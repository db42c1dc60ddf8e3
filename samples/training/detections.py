"""From the raw output of a detector to boxes: numpy only, for measuring, not for production."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from samples.scenes.scene import Floats, Ints
from testing.metrics import box_ious

NMS_IOU = 0.7


class Found(NamedTuple):
    """Detections of one canvas, the surest first."""

    boxes: Floats  # (n, 4) xyxy, canvas px
    scores: Floats  # (n,)
    class_ids: Ints  # (n,)
    terms: Floats  # (n, 32) mask coefficients, or (n, 0)


def decoded(output: Floats, classes: int, confidence: float, most: int = 3000) -> Found:
    """What a raw output (4 + nc (+ 32), N) says above a confidence, duplicates suppressed."""
    scores = output[4 : 4 + classes]
    class_ids, best = scores.argmax(0), scores.max(0)
    kept = np.flatnonzero(best > confidence)
    kept = kept[np.argsort(-best[kept], kind="stable")]
    x, y, w, h = output[:4, kept]
    boxes = np.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], 1)
    alone = suppressed(boxes + class_ids[kept, None] * np.float32(7680), NMS_IOU)[:most]
    kept = kept[alone]
    return Found(boxes[alone], best[kept], class_ids[kept], output[4 + classes :, kept].T)


def suppressed(boxes: Floats, most_iou: float) -> Ints:
    """Positions of the boxes that no surer box covers; the boxes come in order."""
    overlaps = box_ious(boxes, boxes) > most_iou
    alive = np.ones(len(boxes), bool)
    for i in range(len(boxes)):
        if alive[i]:
            alive[i + 1 :] &= ~overlaps[i, i + 1 :]
    return np.flatnonzero(alive)
