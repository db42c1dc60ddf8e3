"""Non-maximum suppression: of boxes that cover the same object, keep the strongest. No time limit."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from shared.vision.detections import Detections, Floats

MAX_CANDIDATES: Final = 30_000
_CLASS_OFFSET: Final = 7680.0  # further apart than any canvas is wide: classes never meet


def nms(
    candidates: Detections, *, iou_threshold: float, max_detections: int, class_agnostic: bool = False
) -> npt.NDArray[np.intp]:
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


def _kept(boxes_xyxy: Floats, iou_threshold: float, most: int) -> npt.NDArray[np.intp]:
    """Indices of the boxes that survive, of boxes that are sorted strongest first."""
    x1, y1, x2, y2 = np.ascontiguousarray(boxes_xyxy.T)
    areas = (x2 - x1) * (y2 - y1)
    alive = np.arange(len(boxes_xyxy))
    kept: list[int] = []
    while len(alive) and len(kept) < most:
        first, alive = int(alive[0]), alive[1:]
        kept.append(first)
        if not len(alive):
            break
        width = np.minimum(x2[first], x2[alive]) - np.maximum(x1[first], x1[alive])
        height = np.minimum(y2[first], y2[alive]) - np.maximum(y1[first], y1[alive])
        common = np.maximum(width, 0) * np.maximum(height, 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            iou = common / (areas[first] + areas[alive] - common)
        alive = alive[~(iou > iou_threshold)]  # not `<=`: the NaN of two empty boxes suppresses nobody
    return np.array(kept, np.intp)
