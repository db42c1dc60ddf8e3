"""Removes duplicates of objects that were detected in more than one segment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from shared.runtime import deadline
from shared.vision.arrays import BoolArray, Float64Array, IndexArray, Int64Array
from shared.vision.boxes.detections import Detections
from shared.vision.boxes.pairs import Pairs, candidate_pairs, decoded, sorted_codes

MIN_DUPLICATE_IOS: Final = 0.5


def deduplicate(detections: Detections, segment_index: Int64Array, *, class_agnostic: bool) -> IndexArray:
    """Suppress each box that overlaps a stronger one of its class from another segment (greedy NMS).

    Boxes overlap if their intersection is at least half of the smaller box (IoS). Boxes of one segment never
    suppress each other: the detector has already decided about them.

    Args:
        detections: n boxes, in px of one frame.
        segment_index: (n,) the segment in which each box was detected.
        class_agnostic: If true, boxes of different classes are duplicates too.

    Returns:
        The indices of the boxes that remain, strongest first.

    Raises:
        ImageTooLarge: The boxes overlap in more than `MAX_PAIRS` pairs.
        DeadlineExceeded: The event's deadline passed.
    """
    order = detections.order()
    corners = detections.boxes_xyxy[order].T.astype(np.float64)
    x1, y1, x2, y2 = corners
    boxes = np.stack((*corners, (x2 - x1) * (y2 - y1)))
    segment_index = segment_index[order]
    class_ids = np.zeros_like(segment_index) if class_agnostic else detections.class_ids[order]
    valid = np.flatnonzero((x2 > x1) & (y2 > y1) & np.isfinite(boxes[4]))
    pairs = candidate_pairs(boxes[:, valid], class_ids[valid])
    kept = np.ones(len(order), bool)
    codes = None if pairs is None else sorted_codes(_duplicate_codes(boxes, valid, pairs, segment_index))
    if codes is None:
        _suppress_by_rows(kept, boxes, class_ids, segment_index)
    else:
        for stronger, weaker in decoded(codes, len(order)):
            if kept[stronger]:
                kept[weaker] = False
    return order[kept]


def _duplicate_codes(
    boxes: Float64Array, valid: IndexArray, pairs: Iterator[Pairs], segment_index: Int64Array
) -> Iterator[Int64Array]:
    """Yield the pairs of duplicates as numbers: the rank of the stronger one times n, plus that of the weaker.

    `boxes` (5, n) are in the order of their ranks, and `pairs` index those at `valid` (m,).
    """
    for one, other in pairs:
        stronger, weaker = np.minimum(valid[one], valid[other]), np.maximum(valid[one], valid[other])
        duplicate = _overlap(boxes[:, stronger], boxes[:, weaker])
        duplicate &= segment_index[stronger] != segment_index[weaker]
        yield (stronger * boxes.shape[1] + weaker)[duplicate]


def _suppress_by_rows(
    kept: BoolArray, boxes: Float64Array, class_ids: Int64Array, segment_index: Int64Array
) -> None:
    """Do the same for boxes of which most overlap: compare each that is kept with all weaker ones."""
    for index in range(len(kept)):
        deadline.check()
        if kept[index]:
            weaker = slice(index + 1, None)
            duplicate = _overlap(boxes[:, index, None], boxes[:, weaker])
            duplicate &= class_ids[weaker] == class_ids[index]
            duplicate &= segment_index[weaker] != segment_index[index]
            kept[weaker] &= ~duplicate


def _overlap(one: Float64Array, other: Float64Array) -> BoolArray:
    """Return which of m pairs of boxes overlap, from their (5, m) columns."""
    width = np.minimum(one[2], other[2]) - np.maximum(one[0], other[0])
    height = np.minimum(one[3], other[3]) - np.maximum(one[1], other[1])
    intersection = np.maximum(width, 0) * np.maximum(height, 0)
    overlaps: BoolArray = (intersection > 0) & (intersection >= MIN_DUPLICATE_IOS * np.minimum(one[4], other[4]))
    return overlaps
