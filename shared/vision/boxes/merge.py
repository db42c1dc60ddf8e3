"""Merges the boxes that overlapping tiles have of the same objects, by SAHI's non-maximum merging.

The rules are those of `nms`, `greedy_nmm` and `nmm` in SAHI 0.12 (docs/performance.md lists the differences):
https://github.com/obss/sahi/blob/main/sahi/postprocess/combine.py

- Two boxes match if their metric reaches the threshold: IOU, the intersection over the union, or IOS, the
  intersection over the smaller area. A box without an area matches no other box.
- Boxes are ranked by confidence, highest first, then by x1, y1, x2, y2, and processed in this order. A box that is
  not claimed when it is processed is a keeper.
- NMS and GREEDYNMM: a keeper claims the boxes that it matches and that are not claimed yet.
- NMM: a claimed box, when it is processed, also claims the boxes that it matches, for its keeper.
- NMS drops the claimed boxes. GREEDYNMM and NMM merge them into the keeper's box, one at a time, in the order of
  the claims. A claimed box that does not match the merged box of that moment is dropped.
- Boxes that are claimed at once are claimed in the order of their ranks, with NMM in the order of the input.
- A keeper's confidence and class do not change.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import accumulate, chain, pairwise
from typing import Final

import numpy as np

from shared.vision.arrays import BoolArray, Float64Array, Int64Array
from shared.vision.boxes.detections import Detections

Pairs = tuple[Int64Array, Int64Array]  # (m,) indices of one box each, (m,) of the other

_MAX_CANDIDATE_PAIRS: Final = 8_000_000  # with more, boxes are compared row by row, which bounds the memory
_CHUNK_PAIRS: Final = 1 << 16  # their intermediate arrays stay in the CPU's cache


class MergeKind(StrEnum):
    """SAHI's kinds of postprocessing."""

    NMS = "NMS"
    NMM = "NMM"
    GREEDYNMM = "GREEDYNMM"


class OverlapMetric(StrEnum):
    """SAHI's match metrics: intersection over union, or over the smaller area."""

    IOU = "IOU"
    IOS = "IOS"


@dataclass(frozen=True, slots=True, eq=False)
class Merged:
    """The merged `detections`, and for each of them in `groups` the indices of the input that it consists of.

    The first index of a group is its keeper.
    """

    detections: Detections
    groups: list[Int64Array]


def merge(
    detections: Detections,
    *,
    kind: MergeKind,
    metric: OverlapMetric,
    threshold: float,
    class_agnostic: bool = False,
) -> Merged:
    """Merge the detections of the same object into one.

    Args:
        detections: n boxes, in px of one frame.
        kind: See the module.
        metric: See the module.
        threshold: The metric from which two boxes match, above 0 and at most 1.
        class_agnostic: If true, boxes of different classes match too.

    Returns:
        The merged detections in the order of `Detections.sorted`. But for NMM, they do not depend on the order of
        the input.

    Raises:
        ValueError: The threshold is outside (0, 1], or the kind or metric is unknown.
    """
    kind, metric = MergeKind(kind), OverlapMetric(metric)
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold={threshold} is invalid: expected more than 0 and at most 1")
    order = detections.order()
    ranked = detections[order]
    classes = np.zeros(len(ranked), np.int64) if class_agnostic else ranked.class_ids
    boxes = _box_columns(ranked)
    claim_order = order if kind is MergeKind.NMM else np.arange(len(order))
    claims = _claims(boxes, classes, kind, metric, threshold, claim_order=claim_order)
    keepers = np.fromiter(claims, np.int64, len(claims))
    merged, groups = ranked[keepers], [[keeper] for keeper in claims]
    if kind is not MergeKind.NMS:
        corners = boxes[:4].T.tolist()
        boxes_and_groups = [
            _merge_box(corners, keeper, claimed, metric, threshold) for keeper, claimed in claims.items()
        ]
        merged_xyxy = np.array([box for box, _ in boxes_and_groups], np.float32).reshape(-1, 4)
        merged, groups = replace(merged, boxes_xyxy=merged_xyxy), [group for _, group in boxes_and_groups]
    final_order = merged.order()  # merging moves corners, which order boxes of one confidence
    return Merged(merged[final_order], _input_indices(order, [groups[index] for index in final_order.tolist()]))


def _input_indices(order: Int64Array, groups: list[list[int]]) -> list[Int64Array]:
    """Convert groups of ranks to groups of input indices: views of one array, much cheaper than many arrays."""
    indices = order[np.fromiter(chain.from_iterable(groups), np.int64)]
    return [indices[start:stop] for start, stop in pairwise(accumulate(map(len, groups), initial=0))]


def _box_columns(detections: Detections) -> Float64Array:
    """Return (5, n): x1, y1, x2, y2 and the area of each box."""
    x1, y1, x2, y2 = detections.boxes_xyxy.T.astype(np.float64)
    return np.stack((x1, y1, x2, y2, (x2 - x1) * (y2 - y1)))


def _claims(
    boxes: Float64Array,
    classes: Int64Array,
    kind: MergeKind,
    metric: OverlapMetric,
    threshold: float,
    *,
    claim_order: Int64Array,
) -> dict[int, list[int]]:
    """Return for the rank of each keeper the ranks of the boxes claimed for it, in the order of the claims.

    `boxes` (5, n) are in the order of their ranks. `claim_order` (n,) is the sort key of boxes claimed at once.
    """
    valid = np.flatnonzero((boxes[2] > boxes[0]) & (boxes[3] > boxes[1]) & np.isfinite(boxes[4]))
    valid_boxes, valid_classes, valid_order = boxes[:, valid], classes[valid], claim_order[valid]
    pairs = _candidate_pairs(valid_boxes, valid_classes)
    if pairs is None:
        claims = _claims_by_rows(valid_boxes, valid_classes, kind, metric, threshold, claim_order=valid_order)
    else:
        claims = _claims_by_pairs(valid_boxes, pairs, kind, metric, threshold, claim_order=valid_order)
    rank = valid.tolist()
    claimed = {rank[other] for others in claims.values() for other in others}
    all_claims: dict[int, list[int]] = {keeper: [] for keeper in range(boxes.shape[1]) if keeper not in claimed}
    all_claims.update({rank[keeper]: [rank[other] for other in others] for keeper, others in claims.items()})
    return all_claims


def _claims_by_pairs(
    boxes: Float64Array,
    candidate_pairs: Iterator[Pairs],
    kind: MergeKind,
    metric: OverlapMetric,
    threshold: float,
    *,
    claim_order: Int64Array,
) -> dict[int, list[int]]:
    """Return the claims among boxes with an area, from the pairs that may overlap.

    The matching pairs are encoded as one number each, so that sorting them gives the order in which boxes are
    processed and claim each other.
    """
    count = boxes.shape[1]
    by_claim_order = np.argsort(claim_order)
    claim_position = np.argsort(by_claim_order)
    codes = [np.empty(0, np.int64)]
    for one, other in candidate_pairs:
        matching = _match(boxes[:, one], boxes[:, other], metric, threshold)
        codes.append((np.minimum(one, other) * count + claim_position[np.maximum(one, other)])[matching])
    pairs = np.concatenate(codes)
    pairs.sort()  # by the rank of the stronger box, then by the claim position of the weaker one
    keeper_of = list(range(count))  # a box that is not claimed is its own keeper
    claims: dict[int, list[int]] = {}
    for start in range(0, len(pairs), _CHUNK_PAIRS):
        stronger, weaker_position = np.divmod(pairs[start : start + _CHUNK_PAIRS], count)
        for rank, other in zip(stronger.tolist(), by_claim_order[weaker_position].tolist(), strict=True):
            keeper = keeper_of[rank]
            if keeper_of[other] == other and (keeper == rank or kind is MergeKind.NMM):
                keeper_of[other] = keeper
                claims.setdefault(keeper, []).append(other)
    return claims


def _claims_by_rows(
    boxes: Float64Array,
    classes: Int64Array,
    kind: MergeKind,
    metric: OverlapMetric,
    threshold: float,
    *,
    claim_order: Int64Array,
) -> dict[int, list[int]]:
    """Return the same claims with less memory: each box is compared with those that are not claimed yet."""
    keeper_of = np.arange(boxes.shape[1])
    claims: dict[int, list[int]] = {}
    # The boxes that are neither claimed nor processed yet.
    free, free_boxes, free_classes = keeper_of.copy(), boxes, classes
    for rank, keeper in enumerate(keeper_of):  # reads the claims that earlier boxes have made by then
        if len(free) and free[0] == rank:
            free, free_boxes, free_classes = free[1:], free_boxes[:, 1:], free_classes[1:]
        if not len(free):
            break
        if keeper == rank or kind is MergeKind.NMM:
            matching = _match(boxes[:, rank, None], free_boxes, metric, threshold) & (
                free_classes == classes[rank]
            )
            if matching.any():
                claimed = free[matching]
                keeper_of[claimed] = keeper
                claims.setdefault(int(keeper), []).extend(claimed[np.argsort(claim_order[claimed])].tolist())
                free, free_boxes, free_classes = free[~matching], free_boxes[:, ~matching], free_classes[~matching]
    return claims


def _match(one: Float64Array, other: Float64Array, metric: OverlapMetric, threshold: float) -> BoolArray:
    """Return which of m pairs of boxes match, from the (5, m) columns of boxes with an area."""
    width = np.minimum(one[2], other[2]) - np.maximum(one[0], other[0])
    height = np.minimum(one[3], other[3]) - np.maximum(one[1], other[1])
    intersection = np.maximum(width, 0) * np.maximum(height, 0)
    whole = one[4] + other[4] - intersection if metric is OverlapMetric.IOU else np.minimum(one[4], other[4])
    matching: BoolArray = intersection / whole >= threshold
    return matching


def _merge_box(
    corners: list[list[float]], keeper: int, claimed: list[int], metric: OverlapMetric, threshold: float
) -> tuple[list[float], list[int]]:
    """Merge claimed boxes into the keeper's box, and return it with the ranks that it consists of.

    The numbers are Python's own, because arrays of one box are slow. The arithmetic is the same.
    """
    group = [keeper]
    if not claimed:
        return corners[keeper], group
    x1, y1, x2, y2 = corners[keeper]
    for other in claimed:
        left, top, right, bottom = corners[other]
        width, height = min(x2, right) - max(x1, left), min(y2, bottom) - max(y1, top)
        if width <= 0 or height <= 0:
            continue
        intersection, area, other_area = width * height, (x2 - x1) * (y2 - y1), (right - left) * (bottom - top)
        whole = area + other_area - intersection if metric is OverlapMetric.IOU else min(area, other_area)
        if intersection / whole >= threshold:
            x1, y1, x2, y2 = min(x1, left), min(y1, top), max(x2, right), max(y2, bottom)
            group.append(other)
    return [x1, y1, x2, y2], group


def _candidate_pairs(boxes: Float64Array, classes: Int64Array) -> Iterator[Pairs] | None:
    """Return pairs of boxes of one class that may overlap, each once, or None if they are too many.

    All pairs that overlap are among them. This is a sweep along x in strips as high as an average box, so there
    are at most three times as many (strip, box) entries as boxes. In a strip, entries are sorted by x1, and a box
    is paired with those after it that begin before it ends. A pair that shares several strips is taken in the
    strip in which the lower of the two begins. The cost is proportional to the boxes and to the pairs near each
    other. Along x, ranks are compared instead of coordinates, which is exact.
    """
    x1, y1, x2, y2, _ = boxes
    count = len(x1)
    if not count:
        return iter(())
    strip_height = max(float(np.mean(y2 - y1)), float(y2.max() - y1.min()) / count)
    first_strip = ((y1 - y1.min()) / strip_height).astype(np.int64)
    strips = (
        ((y2 - y1.min()) / strip_height).astype(np.int64) - first_strip + 1
    )  # the number of strips of each box
    # One entry for each strip of each box. A line is a strip of one class.
    box = np.repeat(np.arange(count), strips)
    strip_of_box = np.arange(len(box)) - np.repeat(np.cumsum(strips) - strips, strips)  # 0: where the box begins
    lines_per_class = int(first_strip.max() + strips.max()) + 1
    line = np.unique(classes, return_inverse=True)[1] * lines_per_class + first_strip
    line_key = (line[box] + strip_of_box) * (count + 1)
    sorted_x1 = np.sort(x1)
    key = line_key + np.searchsorted(sorted_x1, x1)[box]
    order = np.argsort(key)
    ends = np.searchsorted(key[order], (line_key + np.searchsorted(sorted_x1, x2)[box])[order])
    following = ends - np.arange(1, len(order) + 1)
    if following.sum() > _MAX_CANDIDATE_PAIRS:
        return None
    return _sweep_pairs(box[order], strip_of_box[order] == 0, following)


def _sweep_pairs(box: Int64Array, begins: BoolArray, following: Int64Array) -> Iterator[Pairs]:
    """Yield the pairs of each entry with the entries that follow it, in chunks.

    Args:
        box: (entries,) the box of each entry, sorted by line and x1.
        begins: (entries,) whether the box begins in the entry's strip.
        following: (entries,) how many of the next entries begin before the entry's box ends.
    """
    until = np.cumsum(following)
    cuts = np.searchsorted(until, np.arange(_CHUNK_PAIRS, until[-1], _CHUNK_PAIRS)).tolist()
    for start, stop in pairwise((0, *cuts, len(box))):
        counts = following[start:stop]
        one = np.repeat(np.arange(start, stop), counts)
        other = np.arange(len(one)) - np.repeat(np.cumsum(counts) - counts, counts) + one + 1
        here = begins[one] | begins[other]
        yield box[one[here]], box[other[here]]
