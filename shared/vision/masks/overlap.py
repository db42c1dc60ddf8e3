"""Compares and combines masks that share a frame: unions, overlaps, groups and neighbours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shared.vision.arrays import Int64Array
from shared.vision.masks.masks import Mask


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


def mask_ios(first: Mask, second: Mask) -> float:
    """Return the intersection over the smaller area (IoS) of two masks of one frame."""
    (first_h, first_w), (second_h, second_w) = first.pixels.shape, second.pixels.shape
    left, top = max(first.left, second.left), max(first.top, second.top)
    right = min(first.left + first_w, second.left + second_w)
    bottom = min(first.top + first_h, second.top + second_h)
    if left >= right or top >= bottom:
        return 0.0
    overlap = first.cropped(left, top, right, bottom).pixels & second.cropped(left, top, right, bottom).pixels
    intersection = np.count_nonzero(overlap)
    return intersection / min(first.area, second.area) if intersection else 0.0


def group_overlapping(masks: Sequence[Mask], class_ids: Int64Array, threshold: float) -> Int64Array:
    """Group n masks by single linkage: two masks of a class are in one group if their IoS is `threshold` or more.

    Groups are the connected components of that relation, so two masks that do not overlap may be in one group
    through a third.

    Returns:
        (n,) for each mask the index of the first mask of its group.
    """
    firsts = np.arange(len(masks))
    for index, mask in enumerate(masks):
        for other in range(index):
            separate = class_ids[index] == class_ids[other] and firsts[index] != firsts[other]
            if separate and mask_ios(mask, masks[other]) >= threshold:
                low, high = sorted((firsts[index], firsts[other]))
                firsts[firsts == high] = low
    return firsts


def adjacent_masks(masks: Sequence[Mask], index: int, reach: int) -> list[Mask]:
    """Return the masks that touch or overlap `masks[index]`, each cropped to its neighbourhood.

    The neighbourhood is the rectangle of `masks[index]`, enlarged by `reach` px on each side. Two masks touch if
    they share a pixel or have pixels with a common edge. A detector that sees a segment together with these parts
    sees an object on the border whole from both sides. Otherwise it would see two halves, and no later step could
    combine them.
    """
    mask = masks[index]
    height, width = mask.pixels.shape
    left, top, right, bottom = mask.left, mask.top, mask.left + width, mask.top + height
    dilated = np.zeros((height + 2, width + 2), bool)  # by one pixel to each of the four sides
    for y, x in ((0, 1), (1, 0), (1, 1), (1, 2), (2, 1)):
        dilated[y : y + height, x : x + width] |= mask.pixels
    adjacent = []
    for other_index, other in enumerate(masks):
        near = other.cropped(left - 1, top - 1, right + 1, bottom + 1)
        if other_index == index or not near.pixels.size:
            continue
        rows, columns = near.pixels.shape
        y, x = near.top - top + 1, near.left - left + 1
        if (dilated[y : y + rows, x : x + columns] & near.pixels).any():
            adjacent.append(other.cropped(left - reach, top - reach, right + reach, bottom + reach))
    return adjacent
