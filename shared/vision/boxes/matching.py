"""Matches boxes by a metric of their overlap, and merges the boxes that match into one."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import numpy as np

from shared.runtime import deadline
from shared.vision.arrays import BoolArray, Float32Array, Float64Array, Int64Array

_MIN_ARRAY_KEEPERS: Final = 32  # the boxes of fewer are merged one by one, which is faster
_CLAIMS_PER_CHECK: Final = 1 << 14  # of the deadline


class OverlapMetric(StrEnum):
    """SAHI's match metrics: intersection over union, or over the smaller area."""

    IOU = "IOU"
    IOS = "IOS"


def match_boxes(one: Float64Array, other: Float64Array, metric: OverlapMetric, threshold: float) -> BoolArray:
    """Return which of m pairs of boxes match, from the (5, m) columns of boxes with an area."""
    width = np.minimum(one[2], other[2]) - np.maximum(one[0], other[0])
    height = np.minimum(one[3], other[3]) - np.maximum(one[1], other[1])
    intersection = np.maximum(width, 0) * np.maximum(height, 0)
    whole = one[4] + other[4] - intersection if metric is OverlapMetric.IOU else np.minimum(one[4], other[4])
    matching: BoolArray = intersection / whole >= threshold
    return matching


def merge_boxes(
    boxes: Float64Array,
    keepers: Int64Array,
    claim_keepers: Int64Array,
    claimed: Int64Array,
    *,
    metric: OverlapMetric,
    threshold: float,
) -> tuple[Float32Array, BoolArray]:
    """Merge claimed boxes into their keepers' boxes: the first claims of all keepers at once, then the second.

    Args:
        boxes: (5, n) columns in the order of their ranks.
        keepers: (k,) ranks, ascending.
        claim_keepers: (m,) the rank of each claim's keeper, ascending.
        claimed: (m,) the ranks of the claimed boxes.
        metric: Of their overlap.
        threshold: The metric from which two boxes match.

    Returns:
        The merged boxes (k, 4) of the keepers, and (m,) which claimed boxes they consist of; others are dropped.
    """
    merged = boxes[:, keepers]
    is_merged = np.zeros(len(claimed), bool)
    starts = np.searchsorted(claim_keepers, keepers)
    counts = np.diff(starts, append=len(claimed))
    depth, active = 0, np.flatnonzero(counts)
    while len(active) > _MIN_ARRAY_KEEPERS:
        deadline.check()
        claim = starts[active] + depth
        first, second = merged[:, active], boxes[:, claimed[claim]]
        matching = match_boxes(first, second, metric, threshold)
        is_merged[claim] = matching
        union = np.concatenate((np.minimum(first[:2], second[:2]), np.maximum(first[2:4], second[2:4])))
        merged[:4, active] = np.where(matching, union, first[:4])
        merged[4, active] = box_areas(merged[:4, active])
        depth += 1
        active = active[counts[active] > depth]
    for index in active.tolist():
        rest = slice(starts[index] + depth, starts[index] + counts[index])
        claimed_corners = boxes[:4, claimed[rest]].T.tolist()
        merged[:4, index], is_merged[rest] = _merge_one(
            merged[:4, index].tolist(), claimed_corners, metric, threshold
        )
    return merged[:4].T.astype(np.float32), is_merged


def _merge_one(
    corners: list[float], claimed_corners: list[list[float]], metric: OverlapMetric, threshold: float
) -> tuple[list[float], list[bool]]:
    """Merge the boxes that are claimed for one keeper into its box, and return which of them it consists of.

    The numbers are Python's own, because arrays of one box are slow. The arithmetic is that of `match_boxes`.
    """
    x1, y1, x2, y2 = corners
    is_merged = []
    for number, (left, top, right, bottom) in enumerate(claimed_corners):
        if number % _CLAIMS_PER_CHECK == 0:
            deadline.check()
        width, height = min(x2, right) - max(x1, left), min(y2, bottom) - max(y1, top)
        intersection = max(width, 0.0) * max(height, 0.0)
        area, other_area = (x2 - x1) * (y2 - y1), (right - left) * (bottom - top)
        whole = area + other_area - intersection if metric is OverlapMetric.IOU else min(area, other_area)
        is_merged.append(intersection / whole >= threshold)
        if is_merged[-1]:
            x1, y1, x2, y2 = min(x1, left), min(y1, top), max(x2, right), max(y2, bottom)
    return [x1, y1, x2, y2], is_merged


def box_areas(corners: Float64Array) -> Float64Array:
    """Return the areas (n,) of boxes from their columns (4, n)."""
    x1, y1, x2, y2 = corners
    areas: Float64Array = (x2 - x1) * (y2 - y1)
    return areas
