"""Compares and combines masks that share a frame: unions, overlaps, groups and neighbours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from shared.errors import ImageTooLarge
from shared.runtime import deadline
from shared.vision.arrays import Float32Array, IndexArray, Int64Array
from shared.vision.boxes.pairs import Pairs, candidate_pairs
from shared.vision.masks.masks import Mask, ensure_mask_pixels_allowed

MAX_OVERLAPPING_SEGMENTS: Final = 2**20  # pairs, whose masks are compared pixel by pixel


def union(masks: Sequence[Mask]) -> Mask:
    """Return one mask that has the pixels of all the given masks of one frame."""
    masks = [mask for mask in masks if mask.pixels.size] or [Mask(0, 0, np.zeros((0, 0), bool))]
    if len(masks) == 1:
        return masks[0]
    left, top = min(mask.left for mask in masks), min(mask.top for mask in masks)
    right = max(mask.left + mask.pixels.shape[1] for mask in masks)
    bottom = max(mask.top + mask.pixels.shape[0] for mask in masks)
    pixels = np.zeros((bottom - top, right - left), bool)
    for mask in masks:
        height, width = mask.pixels.shape
        rows, columns = (
            slice(mask.top - top, mask.top - top + height),
            slice(mask.left - left, mask.left - left + width),
        )
        pixels[rows, columns] |= mask.pixels
    return Mask(left, top, pixels)


def unions(masks: Sequence[Mask], groups: Sequence[IndexArray]) -> tuple[Mask, ...]:
    """Return for each group of indices the union of its masks.

    Raises:
        ImageTooLarge: The unions have more than `MAX_MASK_PIXELS` together.
        DeadlineExceeded: The event's deadline passed.
    """
    left, top, right, bottom = mask_rectangles(masks)
    ensure_mask_pixels_allowed(
        sum(
            int((right[group].max() - left[group].min()) * (bottom[group].max() - top[group].min()))
            for group in groups
        )
    )
    united = []
    for group in groups:
        deadline.check()
        united.append(union([masks[index] for index in group.tolist()]))
    return tuple(united)


def mask_rectangles(masks: Sequence[Mask]) -> Int64Array:
    """Return the columns left, top, right and bottom (4, n) of the rectangles of masks, in px of their frame."""
    rectangles = [
        (mask.left, mask.top, mask.left + mask.pixels.shape[1], mask.top + mask.pixels.shape[0]) for mask in masks
    ]
    return np.array(rectangles, np.int64).reshape(-1, 4).T


def mask_ios(first: Mask, second: Mask) -> float:
    """Return the intersection over the smaller area (IoS) of two masks of one frame."""
    intersection = _intersection(first, second)
    return intersection / min(first.area, second.area) if intersection else 0.0


def _intersection(first: Mask, second: Mask) -> int:
    """Return the number of pixels that two masks of one frame have in common."""
    (first_h, first_w), (second_h, second_w) = first.pixels.shape, second.pixels.shape
    left, top = max(first.left, second.left), max(first.top, second.top)
    right = min(first.left + first_w, second.left + second_w)
    bottom = min(first.top + first_h, second.top + second_h)
    if left >= right or top >= bottom:
        return 0
    overlap = first.cropped(left, top, right, bottom).pixels & second.cropped(left, top, right, bottom).pixels
    return int(np.count_nonzero(overlap))


def group_overlapping(masks: Sequence[Mask], class_ids: Int64Array, threshold: float) -> Int64Array:
    """Group n masks by single linkage: two masks of a class are in one group if their IoS is `threshold` or more.

    Groups are the connected components of that relation, so two masks that do not overlap may be in one group
    through a third. They are kept in a disjoint-set forest.

    Returns:
        (n,) for each mask the index of the first mask of its group.

    Raises:
        ImageTooLarge: The rectangles of more than `MAX_OVERLAPPING_SEGMENTS` pairs overlap.
        DeadlineExceeded: The event's deadline passed.
    """
    parents = list(range(len(masks)))  # of each mask one of its group with a lower index, or itself

    def first_of(index: int) -> int:
        while parents[index] != index:
            parents[index] = index = parents[parents[index]]
        return index

    areas: list[int | None] = [None] * len(masks)

    def area_of(index: int) -> int:
        area = areas[index]
        if area is None:
            area = areas[index] = masks[index].area
        return area

    compared = 0
    for one, other in _overlapping_rectangles(masks, class_ids):
        compared += len(one)
        if compared > MAX_OVERLAPPING_SEGMENTS:
            raise ImageTooLarge(
                f"Of {len(masks)} segments, the boxes of more than {MAX_OVERLAPPING_SEGMENTS} pairs overlap: "
                f"find fewer segments (max_detections, confidence_threshold), or check the model"
            )
        for index, second in zip(one.tolist(), other.tolist(), strict=True):
            deadline.check()
            low, high = sorted((first_of(index), first_of(second)))
            if low != high:
                intersection = _intersection(masks[index], masks[second])
                if intersection and intersection / min(area_of(index), area_of(second)) >= threshold:
                    parents[high] = low
    return np.array([first_of(index) for index in range(len(masks))], np.int64)


def _overlapping_rectangles(masks: Sequence[Mask], class_ids: Int64Array) -> Iterator[Pairs]:
    """Yield the pairs of masks of one class whose rectangles overlap, in chunks."""
    rectangles = mask_rectangles(masks)
    valid = np.flatnonzero((rectangles[0] < rectangles[2]) & (rectangles[1] < rectangles[3]))
    rectangles, class_ids = rectangles[:, valid], class_ids[valid]
    pairs = candidate_pairs(rectangles.astype(np.float64), class_ids)
    if pairs is None:
        indices = np.arange(len(valid))
        pairs = ((np.full(len(valid) - index - 1, index), indices[index + 1 :]) for index in indices.tolist())
    for one, other in pairs:
        left, top = np.maximum(rectangles[:2, one], rectangles[:2, other])
        right, bottom = np.minimum(rectangles[2:, one], rectangles[2:, other])
        overlapping = (left < right) & (top < bottom) & (class_ids[one] == class_ids[other])
        yield valid[one[overlapping]], valid[other[overlapping]]


def first_covering(masks: Sequence[Mask], points_xy: Float32Array) -> Int64Array:
    """Return for each point the index of the first mask that has a pixel there, or -1.

    Args:
        masks: The masks of one frame.
        points_xy: (n, 2) x, y in px of the frame.

    Returns:
        (n,).

    Raises:
        DeadlineExceeded: The event's deadline passed.
    """
    index_of = np.full(len(points_xy), -1, np.int64)
    by_x = np.argsort(points_xy[:, 0])
    sorted_x = points_xy[by_x, 0]
    lefts, _, rights, _ = mask_rectangles(masks)
    bounds = np.searchsorted(sorted_x, (lefts, rights)).T.tolist()
    for index, (mask, (begin, end)) in enumerate(zip(masks, bounds, strict=True)):
        deadline.check()
        candidates = by_x[begin:end]  # no other point is between the mask's left and right side
        candidates = candidates[index_of[candidates] < 0]
        index_of[candidates[mask.covers(points_xy[candidates])]] = index
    return index_of


def adjacent_masks(
    masks: Sequence[Mask], index: int, reach: int, rectangles: Int64Array | None = None
) -> list[Mask]:
    """Return the masks that touch or overlap `masks[index]`, each cropped to its neighbourhood.

    The neighbourhood is the rectangle of `masks[index]`, enlarged by `reach` px on each side. Two masks touch if
    they share a pixel or have pixels with a common edge. A detector that sees a segment together with these parts
    sees an object on the border whole from both sides. Otherwise it would see two halves, and no later step could
    combine them.

    Args:
        masks: The masks of one frame.
        index: Of the mask whose neighbours are returned.
        reach: How far its neighbourhood reaches, px.
        rectangles: The `mask_rectangles` of `masks`, for callers that ask for the neighbours of many.
    """
    mask = masks[index]
    rectangles = mask_rectangles(masks) if rectangles is None else rectangles
    height, width = mask.pixels.shape
    left, top, right, bottom = mask.left, mask.top, mask.left + width, mask.top + height
    dilated = np.zeros((height + 2, width + 2), bool)  # by one pixel to each of the four sides
    for y, x in ((0, 1), (1, 0), (1, 1), (1, 2), (2, 1)):
        dilated[y : y + height, x : x + width] |= mask.pixels
    adjacent = []
    lefts, tops, rights, bottoms = rectangles
    is_near = (lefts < right + 1) & (tops < bottom + 1) & (rights > left - 1) & (bottoms > top - 1)
    for other_index in np.flatnonzero(is_near).tolist():
        other = masks[other_index]
        near = other.cropped(left - 1, top - 1, right + 1, bottom + 1)
        if other_index == index or not near.pixels.size:
            continue
        rows, columns = near.pixels.shape
        y, x = near.top - top + 1, near.left - left + 1
        if (dilated[y : y + rows, x : x + columns] & near.pixels).any():
            adjacent.append(other.cropped(left - reach, top - reach, right + reach, bottom + reach))
    return adjacent
