"""Suppresses boxes of one object by greedy non-maximum suppression (NMS)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from shared.runtime import deadline
from shared.vision.arrays import BoolArray, Float32Array, IndexArray, Int64Array
from shared.vision.boxes.detections import Detections
from shared.vision.boxes.pairs import candidate_pairs, decoded, sorted_codes

MAX_CANDIDATES: Final = 30_000
_BLOCK_BOXES: Final = 64
_CHUNK_BOXES: Final = 1024  # their intermediate arrays stay in the CPU's cache
_MIN_KEPT_FOR_PAIRS: Final = 512
_CLASS_OFFSET: Final = 7680.0  # wider than any canvas: boxes of different classes never overlap


def nms(
    candidates: Detections, *, iou_threshold: float, max_detections: int, class_agnostic: bool = False
) -> IndexArray:
    """Suppress each box whose IoU with a stronger one of its class is greater than `iou_threshold`.

    This is greedy NMS without a time limit, with the limits and the class offsets of Ultralytics'
    `non_max_suppression`: https://github.com/ultralytics/ultralytics/blob/main/ultralytics/utils/nms.py

    Args:
        candidates: n boxes, within 7680 px. Only the strongest MAX_CANDIDATES are considered.
        iou_threshold: Boxes with exactly this IoU are both kept.
        max_detections: The number of boxes to keep at most.
        class_agnostic: If true, a box suppresses boxes of other classes too.

    Returns:
        The indices of the boxes that remain, strongest first; of equal confidence, in the order of `candidates`.

    Raises:
        DeadlineExceeded: The event's deadline passed.
    """
    order = np.argsort(-candidates.confidences, kind="stable")[:MAX_CANDIDATES]
    candidates = candidates[order]
    offsets = np.zeros(len(candidates), np.float32)
    if not class_agnostic:
        offsets = candidates.class_ids.astype(np.float32) * np.float32(_CLASS_OFFSET)
    return order[_unsuppressed(candidates.boxes_xyxy + offsets[:, None], iou_threshold, max_detections)]


def _unsuppressed(boxes_xyxy: Float32Array, iou_threshold: float, max_count: int) -> IndexArray:
    """Return the indices of the boxes that remain, of boxes sorted strongest first.

    The strongest boxes are taken in blocks. Boxes of a block suppress each other one by one, and those that remain
    suppress all weaker boxes at once.
    """
    sides = np.ascontiguousarray(boxes_xyxy.T)
    remaining = np.arange(len(boxes_xyxy))
    kept: list[int] = []
    pairs_tried = False
    while len(remaining) and len(kept) < max_count:
        deadline.check()
        if len(kept) >= _MIN_KEPT_FOR_PAIRS and not pairs_tried:
            pairs_tried = True
            survivors_by_pairs = _unsuppressed_by_pairs(sides[:, remaining], iou_threshold)
            if survivors_by_pairs is not None:
                kept += remaining[survivors_by_pairs].tolist()
                break
        block, remaining = remaining[:_BLOCK_BOXES], remaining[_BLOCK_BOXES:]
        block_sides = sides[:, block]
        overlaps = _overlap(block_sides[..., None], block_sides, iou_threshold)
        alive = np.ones(len(block), bool)
        survivors = []
        for index in range(len(block)):
            if alive[index]:
                survivors.append(index)
                alive &= ~overlaps[index]
        kept += block[survivors].tolist()
        if len(kept) >= max_count:
            break
        block_sides = block_sides[:, survivors, None]
        chunks = np.split(remaining, range(_CHUNK_BOXES, len(remaining), _CHUNK_BOXES))
        remaining = np.concatenate(
            [chunk[~_overlap(block_sides, sides[:, chunk], iou_threshold).any(axis=0)] for chunk in chunks]
        )
    return np.array(kept[:max_count], np.intp)


def _unsuppressed_by_pairs(sides: Float32Array, iou_threshold: float) -> BoolArray | None:
    """Return (n,) which boxes remain, from the pairs that may overlap; None if those are most of all pairs.

    Comparing blocks with all weaker boxes takes time in proportion to the boxes that are kept. This does not, but
    has more to do before it begins.

    Args:
        sides: (4, n) x1, y1, x2, y2, sorted strongest first.
        iou_threshold: The IoU above which boxes overlap.
    """
    count = sides.shape[1]
    valid = np.flatnonzero((sides[2] > sides[0]) & (sides[3] > sides[1]))  # others overlap no box
    pairs = candidate_pairs(sides[:, valid].astype(np.float64), np.zeros(len(valid), np.int64))
    if pairs is None:
        return None

    def overlapping_codes() -> Iterator[Int64Array]:
        for one, other in pairs:
            stronger, weaker = np.minimum(valid[one], valid[other]), np.maximum(valid[one], valid[other])
            overlaps = _overlap(sides[:, stronger], sides[:, weaker], iou_threshold)
            yield (stronger * count + weaker)[overlaps]

    codes = sorted_codes(overlapping_codes())
    if codes is None:
        return None
    alive = np.ones(count, bool)
    for stronger, weaker in decoded(codes, count):
        if alive[stronger]:
            alive[weaker] = False
    return alive


def _overlap(first: Float32Array, second: Float32Array, iou_threshold: float) -> BoolArray:
    """Return whether the IoU of boxes is greater than the threshold, in the shape to which both are broadcast.

    Two boxes without an area have an IoU of NaN, which is not greater.

    Args:
        first: (4, ...) x1, y1, x2, y2.
        second: (4, ...) x1, y1, x2, y2.
        iou_threshold: The IoU above which boxes overlap.
    """
    x1, y1, x2, y2 = first
    width = np.minimum(x2, second[2]) - np.maximum(x1, second[0])
    height = np.minimum(y2, second[3]) - np.maximum(y1, second[1])
    intersection = np.maximum(width, 0) * np.maximum(height, 0)
    areas = (second[2] - second[0]) * (second[3] - second[1])
    with np.errstate(invalid="ignore", divide="ignore"):
        iou = intersection / ((x2 - x1) * (y2 - y1) + areas - intersection)
    overlaps: BoolArray = iou > iou_threshold
    return overlaps
