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

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise

import numpy as np

from shared.runtime import deadline
from shared.vision.arrays import Float64Array, Int64Array
from shared.vision.boxes.detections import Detections
from shared.vision.boxes.matching import OverlapMetric, box_areas, match_boxes, merge_boxes
from shared.vision.boxes.pairs import Pairs, candidate_pairs, decoded, ensure_box_count_allowed, sorted_codes


class MergeKind(StrEnum):
    """SAHI's kinds of postprocessing."""

    NMS = "NMS"
    NMM = "NMM"
    GREEDYNMM = "GREEDYNMM"


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
        ImageTooLarge: There are more than `MAX_BOXES`, or they overlap in more than `MAX_PAIRS` pairs.
        DeadlineExceeded: The event's deadline passed.
        ValueError: The threshold is outside (0, 1], or the kind or metric is unknown.
    """
    kind, metric = MergeKind(kind), OverlapMetric(metric)
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold={threshold} is invalid: expected more than 0 and at most 1")
    ensure_box_count_allowed(len(detections))
    order = detections.order()
    ranked = detections[order]
    classes = np.zeros(len(ranked), np.int64) if class_agnostic else ranked.class_ids
    boxes = _box_columns(ranked)
    claim_order = order if kind is MergeKind.NMM else np.arange(len(order))
    claims = _claims(boxes, classes, kind, metric, threshold, claim_order=claim_order)
    is_keeper = np.ones(len(ranked), bool)
    is_keeper[claims.claimed] = False
    keepers = np.flatnonzero(is_keeper)
    merged, members, owners = ranked[keepers], keepers, np.arange(len(keepers))
    if kind is not MergeKind.NMS:
        claims = claims.by_keeper()
        merged_xyxy, is_merged = merge_boxes(
            boxes, keepers, claims.keepers, claims.claimed, metric=metric, threshold=threshold
        )
        merged = replace(merged, boxes_xyxy=merged_xyxy)
        members = np.concatenate((members, claims.claimed[is_merged]))
        owners = np.concatenate((owners, np.searchsorted(keepers, claims.keepers[is_merged])))
    final_order = merged.order()  # merging moves corners, which order boxes of one confidence
    final_position = np.argsort(final_order)[owners]
    indices = order[members[np.argsort(final_position, kind="stable")]]  # a keeper comes before its claims
    ends = np.cumsum(np.bincount(final_position, minlength=len(keepers))).tolist()
    # Views of one array, which are much cheaper than many arrays.
    groups = [indices[start:stop] for start, stop in pairwise((0, *ends))]
    return Merged(merged[final_order], groups)


@dataclass(frozen=True, slots=True, eq=False)
class _Claims:
    """m claims in the order in which they are made: ranks (m,) of keepers, and of the boxes claimed for them."""

    keepers: Int64Array
    claimed: Int64Array

    def by_keeper(self) -> _Claims:
        """Return the claims in the order of their keepers; those of one keeper stay in the order of the claims."""
        order = np.argsort(self.keepers, kind="stable")
        return _Claims(self.keepers[order], self.claimed[order])


def _box_columns(detections: Detections) -> Float64Array:
    """Return (5, n): x1, y1, x2, y2 and the area of each box."""
    corners = detections.boxes_xyxy.T.astype(np.float64)
    return np.concatenate((corners, box_areas(corners)[None]))


def _claims(
    boxes: Float64Array,
    classes: Int64Array,
    kind: MergeKind,
    metric: OverlapMetric,
    threshold: float,
    *,
    claim_order: Int64Array,
) -> _Claims:
    """Return the claims among n boxes.

    `boxes` (5, n) are in the order of their ranks. `claim_order` (n,) is the sort key of boxes claimed at once.
    """
    valid = np.flatnonzero((boxes[2] > boxes[0]) & (boxes[3] > boxes[1]) & np.isfinite(boxes[4]))
    valid_boxes, valid_classes, valid_order = boxes[:, valid], classes[valid], claim_order[valid]
    pairs = candidate_pairs(valid_boxes, valid_classes)
    claims = None
    if pairs is not None:
        claims = _claims_by_pairs(valid_boxes, pairs, kind, metric, threshold, claim_order=valid_order)
    if claims is None:
        claims = _claims_by_rows(valid_boxes, valid_classes, kind, metric, threshold, claim_order=valid_order)
    return _Claims(valid[claims.keepers], valid[claims.claimed])


def _claims_by_pairs(
    boxes: Float64Array,
    candidate_pairs: Iterator[Pairs],
    kind: MergeKind,
    metric: OverlapMetric,
    threshold: float,
    *,
    claim_order: Int64Array,
) -> _Claims | None:
    """Return the claims among boxes with an area, from the pairs that may overlap; None if too many match.

    The matching pairs are encoded as one number each, so that sorting them gives the order in which boxes are
    processed and claim each other.
    """
    count = boxes.shape[1]
    by_claim_order = np.argsort(claim_order)
    claim_position, claim_order_list = np.argsort(by_claim_order), by_claim_order.tolist()

    def matching_codes() -> Iterator[Int64Array]:
        for one, other in candidate_pairs:
            matching = match_boxes(boxes[:, one], boxes[:, other], metric, threshold)
            yield (np.minimum(one, other) * count + claim_position[np.maximum(one, other)])[matching]

    # Sorted by the rank of the stronger box, then by the claim position of the weaker one.
    codes = sorted_codes(matching_codes())
    if codes is None:
        return None
    keeper_of = list(range(count))  # a box that is not claimed is its own keeper
    keepers, claimed = array("q"), array("q")
    for rank, position in decoded(codes, count):
        other = claim_order_list[position]
        keeper = keeper_of[rank]
        if keeper_of[other] == other and (keeper == rank or kind is MergeKind.NMM):
            keeper_of[other] = keeper
            keepers.append(keeper)
            claimed.append(other)
    return _Claims(np.array(keepers, np.int64), np.array(claimed, np.int64))


def _claims_by_rows(
    boxes: Float64Array,
    classes: Int64Array,
    kind: MergeKind,
    metric: OverlapMetric,
    threshold: float,
    *,
    claim_order: Int64Array,
) -> _Claims:
    """Return the same claims with less memory: each box is compared with those that are not claimed yet."""
    keeper_of = np.arange(boxes.shape[1])
    keepers, claimed = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    # The boxes that are neither claimed nor processed yet.
    free, free_boxes, free_classes = keeper_of.copy(), boxes, classes
    for rank, keeper in enumerate(keeper_of):  # reads the claims that earlier boxes have made by then
        deadline.check()
        if len(free) and free[0] == rank:
            free, free_boxes, free_classes = free[1:], free_boxes[:, 1:], free_classes[1:]
        if not len(free):
            break
        if keeper == rank or kind is MergeKind.NMM:
            matching = match_boxes(boxes[:, rank, None], free_boxes, metric, threshold) & (
                free_classes == classes[rank]
            )
            if matching.any():
                claimed_now = free[matching]
                keeper_of[claimed_now] = keeper
                claimed.append(claimed_now[np.argsort(claim_order[claimed_now])])
                keepers.append(np.full(len(claimed_now), keeper))
                free, free_boxes, free_classes = free[~matching], free_boxes[:, ~matching], free_classes[~matching]
    return _Claims(np.concatenate(keepers), np.concatenate(claimed))
