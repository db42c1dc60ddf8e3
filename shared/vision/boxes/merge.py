"""Merges what several tiles saw of the same objects; knows boxes and confidences, but no tiles and no masks.

The rules are those of sahi's postprocessing (0.12), without its exceptions:

- Two boxes match where their metric is the threshold or more: IOU, intersection over union, or IOS, over the
  smaller of the two. A box without an area matches nobody.
- Boxes have their turn by confidence, the highest first, then by x1, y1, x2, y2. One that nobody has claimed
  before its turn is a keeper.
- NMS and GREEDYNMM: a keeper claims those that it matches and nobody has claimed.
- NMM: so does a claimed box when it is its turn, for its keeper.
- NMS: what is claimed is dropped. GREEDYNMM and NMM: the keeper takes it in, one at a time, in the order of the
  claims, if it matches the box that the keeper has grown to by then, and drops it otherwise.
- Who claims several at once does so in the order of their turns; with NMM in the order they were given in.
- A keeper's confidence and class stay.
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

Columns = Float64Array  # (5, n): x1, y1, x2, y2 and the area
Pairs = tuple[Int64Array, Int64Array]  # (m,), (m,)

_MOST_PAIRS: Final = 8_000_000  # near each other; with more, one row at a time: memory stays bounded
_CHUNK: Final = 1 << 16  # pairs at a time: what is between stays in the cache


class MergeKind(StrEnum):
    NMS = "NMS"
    NMM = "NMM"
    GREEDYNMM = "GREEDYNMM"


class OverlapMetric(StrEnum):
    IOU = "IOU"
    IOS = "IOS"


@dataclass(frozen=True, slots=True, eq=False)
class Merged:
    """The merged `detections`, and in `groups` the indices of the inputs each is made of, its keeper first."""

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
    """Make one detection of those of one object: each class for itself, or all together.

    Frame: any, as long as it is one. The answer is in the order of `Detections.sorted` and, but for NMM, does not
    depend on the order of `detections`. Raises ValueError for a threshold outside (0, 1] and an unknown kind or
    metric.
    """
    kind, metric = MergeKind(kind), OverlapMetric(metric)
    if not 0 < threshold <= 1:
        raise ValueError(f"boxes match from a threshold above 0 up to 1, not from {threshold}")
    order = detections.order()
    ranked = detections[order]
    classes = np.zeros(len(ranked), np.int64) if class_agnostic else ranked.class_ids
    boxes = _columns(ranked)
    places = order if kind is MergeKind.NMM else np.arange(len(order))
    claims = _claims(boxes, classes, kind, metric, threshold, places=places)
    keepers = np.fromiter(claims, np.int64, len(claims))
    merged, groups = ranked[keepers], [[keeper] for keeper in claims]
    if kind is not MergeKind.NMS:
        corners = boxes[:4].T.tolist()
        grown = [_grown(corners, keeper, claimed, metric, threshold) for keeper, claimed in claims.items()]
        grown_xyxy = np.array([box for box, _ in grown], np.float32).reshape(-1, 4)
        merged, groups = replace(merged, boxes_xyxy=grown_xyxy), [group for _, group in grown]
    again = merged.order()  # boxes of one confidence may have changed places as they grew
    return Merged(merged[again], _split(order, [groups[index] for index in again.tolist()]))


def _split(order: Int64Array, groups: list[list[int]]) -> list[Int64Array]:
    """Turns to indices, group by group: as views of one array, which is much cheaper than many arrays."""
    indices = order[np.fromiter(chain.from_iterable(groups), np.int64)]
    return [indices[start:stop] for start, stop in pairwise(accumulate(map(len, groups), initial=0))]


def _columns(detections: Detections) -> Columns:
    x1, y1, x2, y2 = detections.boxes_xyxy.T.astype(np.float64)
    return np.stack((x1, y1, x2, y2, (x2 - x1) * (y2 - y1)))


def _claims(
    boxes: Columns,
    classes: Int64Array,
    kind: MergeKind,
    metric: OverlapMetric,
    threshold: float,
    *,
    places: Int64Array,
) -> dict[int, list[int]]:
    """The keepers, in the order of their turns, each with the boxes claimed for it, in the order of the claims.

    `places` (n,): the order in which boxes are claimed that are claimed at once.
    """
    solid = np.flatnonzero((boxes[2] > boxes[0]) & (boxes[3] > boxes[1]) & np.isfinite(boxes[4]))
    some, classes = boxes[:, solid], classes[solid]
    near = _neighbours(some, classes)
    if near is None:
        claims = _claims_by_rows(some, classes, kind, metric, threshold, places=places[solid])
    else:
        claims = _claims_by_pairs(some, near, kind, metric, threshold, places=places[solid])
    rank = solid.tolist()
    claimed = {rank[one] for others in claims.values() for one in others}
    every: dict[int, list[int]] = {keeper: [] for keeper in range(boxes.shape[1]) if keeper not in claimed}
    every.update({rank[keeper]: [rank[one] for one in others] for keeper, others in claims.items()})
    return every


def _claims_by_pairs(
    boxes: Columns,
    near: Iterator[Pairs],
    kind: MergeKind,
    metric: OverlapMetric,
    threshold: float,
    *,
    places: Int64Array,
) -> dict[int, list[int]]:
    """The claims, from the pairs of boxes that are near each other."""
    count = boxes.shape[1]
    in_place = np.argsort(places)
    rank = np.argsort(in_place)
    codes = [np.empty(0, np.int64)]
    for one, other in near:
        matched = _match(boxes[:, one], boxes[:, other], metric, threshold)
        codes.append((np.minimum(one, other) * count + rank[np.maximum(one, other)])[matched])
    pairs = np.concatenate(codes)
    pairs.sort()  # by the turn of the earlier, then by the place of the later
    owners = list(range(count))  # a box that nobody has claimed is its own
    claims: dict[int, list[int]] = {}
    for start in range(0, len(pairs), _CHUNK):
        earlier, later = np.divmod(pairs[start : start + _CHUNK], count)
        for turn, other in zip(earlier.tolist(), in_place[later].tolist(), strict=True):
            owner = owners[turn]
            if owners[other] == other and (owner == turn or kind is MergeKind.NMM):
                owners[other] = owner
                claims.setdefault(owner, []).append(other)
    return claims


def _claims_by_rows(
    boxes: Columns,
    classes: Int64Array,
    kind: MergeKind,
    metric: OverlapMetric,
    threshold: float,
    *,
    places: Int64Array,
) -> dict[int, list[int]]:
    """The same claims where too many boxes are near each other: each against those that nobody has claimed yet."""
    owners = np.arange(boxes.shape[1])
    claims: dict[int, list[int]] = {}
    free, free_boxes, free_classes = owners.copy(), boxes, classes  # and their turn is still to come
    for turn, owner in enumerate(owners):  # as it is by then
        if len(free) and free[0] == turn:
            free, free_boxes, free_classes = free[1:], free_boxes[:, 1:], free_classes[1:]
        if not len(free):
            break
        if owner == turn or kind is MergeKind.NMM:
            matched = _match(boxes[:, turn, None], free_boxes, metric, threshold) & (free_classes == classes[turn])
            if matched.any():
                taken = free[matched]
                owners[taken] = owner
                claims.setdefault(int(owner), []).extend(taken[np.argsort(places[taken])].tolist())
                free, free_boxes, free_classes = free[~matched], free_boxes[:, ~matched], free_classes[~matched]
    return claims


def _match(one: Columns, other: Columns, metric: OverlapMetric, threshold: float) -> BoolArray:
    """Which of the pairs match: boxes with an area, (5, m) each."""
    width = np.minimum(one[2], other[2]) - np.maximum(one[0], other[0])
    height = np.minimum(one[3], other[3]) - np.maximum(one[1], other[1])
    common = np.maximum(width, 0) * np.maximum(height, 0)
    whole = one[4] + other[4] - common if metric is OverlapMetric.IOU else np.minimum(one[4], other[4])
    matched: BoolArray = common / whole >= threshold
    return matched


def _grown(
    corners: list[list[float]], keeper: int, claimed: list[int], metric: OverlapMetric, threshold: float
) -> tuple[list[float], list[int]]:
    """The keeper's box when it has taken in what still matches, and whom it then consists of.

    In Python's own numbers: one box at a time is no work for arrays, and the arithmetic is the same as theirs.
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
        common, area, area_of_other = width * height, (x2 - x1) * (y2 - y1), (right - left) * (bottom - top)
        whole = area + area_of_other - common if metric is OverlapMetric.IOU else min(area, area_of_other)
        if common / whole >= threshold:
            x1, y1, x2, y2 = min(x1, left), min(y1, top), max(x2, right), max(y2, bottom)
            group.append(other)
    return [x1, y1, x2, y2], group


def _neighbours(boxes: Columns, classes: Int64Array) -> Iterator[Pairs] | None:
    """Pairs of one class, each once, among them all that overlap; None if there are too many to look at.

    A sweep: the plane is cut into strips as high as a box is on average, so that there are at most three times
    as many (strip, box) as boxes. In a strip, sorted by x1, those that begin before a box ends follow it. A pair
    that meets in several strips is taken where the lower of the two begins. The cost is in proportion to the
    boxes and to the pairs that are near each other; in x, places are compared by rank, which is exact.
    """
    x1, y1, x2, y2, _ = boxes
    count = len(x1)
    if not count:
        return iter(())
    strip_height = max(float(np.mean(y2 - y1)), float(y2.max() - y1.min()) / count)
    top = ((y1 - y1.min()) / strip_height).astype(np.int64)
    strips = ((y2 - y1.min()) / strip_height).astype(np.int64) - top + 1  # of each box
    box = np.repeat(np.arange(count), strips)
    below = np.arange(len(box)) - np.repeat(np.cumsum(strips) - strips, strips)  # 0: the strip it begins in
    line = np.unique(classes, return_inverse=True)[1] * (int(top.max() + strips.max()) + 1) + top
    line = (line[box] + below) * (count + 1)
    begins = np.sort(x1)
    key = line + np.searchsorted(begins, x1)[box]
    order = np.argsort(key)
    ends = np.searchsorted(key[order], (line + np.searchsorted(begins, x2)[box])[order])
    following = ends - np.arange(1, len(order) + 1)
    if following.sum() > _MOST_PAIRS:
        return None
    return _swept(box[order], below[order] == 0, following)


def _swept(box: Int64Array, begins: BoolArray, following: Int64Array) -> Iterator[Pairs]:
    """Pairs of each (strip, box) with the `following` ones behind it of which one begins in the strip."""
    until = np.cumsum(following)
    cuts = np.searchsorted(until, np.arange(_CHUNK, until[-1], _CHUNK)).tolist()
    for start, stop in pairwise((0, *cuts, len(box))):
        runs = following[start:stop]
        one = np.repeat(np.arange(start, stop), runs)
        other = np.arange(len(one)) - np.repeat(np.cumsum(runs) - runs, runs) + one + 1
        met = begins[one] | begins[other]
        yield box[one[met]], box[other[met]]
