"""Non-maximum suppression: of boxes that cover the same object, keep the strongest. No time limit."""

from __future__ import annotations

from typing import Final

import numpy as np

from shared.vision.arrays import BoolArray, Float32Array, IndexArray
from shared.vision.boxes.detections import Detections

MAX_CANDIDATES: Final = 30_000
_BLOCK: Final = 64
_WIDE: Final = 1024  # boxes: what is between stays in the cache
_CLASS_OFFSET: Final = 7680.0  # further apart than any canvas is wide: classes never meet


def nms(
    candidates: Detections, *, iou_threshold: float, max_detections: int, class_agnostic: bool = False
) -> IndexArray:
    """Suppress each box that overlaps a stronger one of its class by more than `iou_threshold`.

    Frame: any, as long as boxes stay within 7680 px. Gives the indices of the strongest `max_detections` of
    the candidates, strongest first; of equal confidence in the order they came in.
    """
    order = np.argsort(-candidates.confidences, kind="stable")[:MAX_CANDIDATES]
    candidates = candidates[order]
    offsets = np.zeros(len(candidates), np.float32)
    if not class_agnostic:
        offsets = candidates.class_ids.astype(np.float32) * np.float32(_CLASS_OFFSET)
    return order[_kept(candidates.boxes_xyxy + offsets[:, None], iou_threshold, max_detections)]


def _kept(boxes_xyxy: Float32Array, iou_threshold: float, most: int) -> IndexArray:
    """Indices of the boxes that survive, of boxes that are sorted strongest first.

    A block of the strongest at a time: they settle it among themselves, then with all weaker ones at once.
    """
    sides = np.ascontiguousarray(boxes_xyxy.T)
    alive = np.arange(len(boxes_xyxy))
    kept: list[int] = []
    while len(alive) and len(kept) < most:
        block, alive = alive[:_BLOCK], alive[_BLOCK:]
        ours = sides[:, block]
        hidden, strong = _overlap(ours, ours, iou_threshold), np.ones(len(block), bool)
        survivors = []
        for place in range(len(block)):
            if strong[place]:
                survivors.append(place)
                strong &= ~hidden[place]
        kept += block[survivors].tolist()
        if len(kept) >= most:
            break
        ours = ours[:, survivors]
        parts = np.split(alive, range(_WIDE, len(alive), _WIDE))
        alive = np.concatenate(
            [part[~_overlap(ours, sides[:, part], iou_threshold).any(axis=0)] for part in parts]
        )
    return np.array(kept[:most], np.intp)


def _overlap(first: Float32Array, second: Float32Array, iou_threshold: float) -> BoolArray:
    """(n, m) which of (4, n) sides x1, y1, x2, y2 overlap which of (4, m) by more than the threshold.

    The NaN of two empty boxes is not more.
    """
    x1, y1, x2, y2 = first[..., None]
    width = np.minimum(x2, second[2]) - np.maximum(x1, second[0])
    height = np.minimum(y2, second[3]) - np.maximum(y1, second[1])
    common = np.maximum(width, 0) * np.maximum(height, 0)
    areas = (second[2] - second[0]) * (second[3] - second[1])
    with np.errstate(invalid="ignore", divide="ignore"):
        iou = common / ((x2 - x1) * (y2 - y1) + areas - common)
    over: BoolArray = iou > iou_threshold
    return over
