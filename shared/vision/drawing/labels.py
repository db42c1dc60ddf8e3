"""Draws names on small patches of colour, and finds positions for them where they hide little of a picture."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from shared.vision.arrays import BoolArray, Float32Array, PackedPixels, SizeHW
from shared.vision.drawing.colours import INK, PAPER, Colour, is_light
from shared.vision.images.pixels import as_uint32
from shared.vision.masks.masks import Mask

# The cache of patches takes 32 MiB at most. A patch on a picture of 4000 px has about 100 KiB.
MAX_CACHED_PATCHES: Final = 128
MAX_CACHED_PATCH_BYTES: Final = 256 * 1024

_OUTSIDE_COST: Final = 0.3  # a label outside its mask costs as much as one that hides this share of the mask
# Where a patch is tested for lying on the mask, as fractions of the patch.
_SAMPLE_POINTS_XY: Final = np.array(((0, 0), (1, 0), (0.5, 0.5), (0, 1), (1, 1)), np.float32)
# Candidate positions, as fractions of the distance that a patch can move in the mask's rectangle: a row of seven
# above the rectangle, seven rows in it, and a row below it.
_STEPS: Final = np.linspace(0, 1, 7, dtype=np.float32)
_CANDIDATES_XY: Final = np.stack(
    (np.tile(_STEPS, 9), np.concatenate((_STEPS[:1], _STEPS, _STEPS[:1])).repeat(7)), axis=1
)
_ABOVE: Final = slice(0, 7)
_BELOW: Final = slice(56, 63)


class OccupiedAreas:
    """The rectangles of a picture that already have text, so that no text covers another."""

    def __init__(self, shape_hw: SizeHW, max_areas: int) -> None:
        self.shape_hw = shape_hw
        self._areas_xyxy = np.empty((max_areas, 4), np.float32)
        self._count = 0

    def add(self, left: int, top: int, patch_hw: tuple[int, ...]) -> None:
        """Mark the rectangle of a patch as occupied."""
        self._areas_xyxy[self._count] = left, top, left + patch_hw[1], top + patch_hw[0]
        self._count += 1

    def are_free(self, positions_xy: Float32Array, patch_hw: tuple[int, ...]) -> BoolArray:
        """Return (n,) at which of the positions (n, 2) a patch overlaps no occupied rectangle."""
        occupied = self._areas_xyxy[: self._count]
        free: BoolArray = np.all(overlap_areas(positions_xy, patch_hw, occupied) <= 0, axis=1)
        return free


def overlap_areas(positions_xy: Float32Array, patch_hw: tuple[int, ...], boxes_xyxy: Float32Array) -> Float32Array:
    """Return the area of each box that a patch covers at each position.

    Args:
        positions_xy: (n, 2) the patch's upper left corner, px of the picture.
        patch_hw: The size of the patch.
        boxes_xyxy: (m, 4) px of the picture.

    Returns:
        (n, m) px.
    """
    ends = positions_xy + np.array(patch_hw[1::-1], np.float32)
    start = np.maximum(positions_xy[:, None], boxes_xyxy[None, :, :2])
    stop = np.minimum(ends[:, None], boxes_xyxy[None, :, 2:])
    sides = np.maximum(stop - start, 0)
    areas: Float32Array = sides[..., 0] * sides[..., 1]
    return areas


def place_above_box(
    occupied: OccupiedAreas, box: Sequence[float], patch_hw: tuple[int, ...]
) -> tuple[int, int] | None:
    """Place a label on the upper edge of a box, or just below that edge at the top of the picture.

    Returns:
        Left and top, which are marked as occupied, or None if the position overlaps other text.
    """
    left = max(min(round(box[0]), occupied.shape_hw[1] - patch_hw[1]), 0)
    top = round(box[1]) - patch_hw[0] if box[1] >= patch_hw[0] else round(box[1])
    if not occupied.are_free(np.array(((left, top),), np.float32), patch_hw)[0]:
        return None
    occupied.add(left, top, patch_hw)
    return left, top


def place_on_mask(
    occupied: OccupiedAreas, mask: Mask, patch_hw: tuple[int, ...], boxes_xyxy: Float32Array
) -> tuple[int, int] | None:
    """Place a label where it hides the smallest part of boxes and of the mask itself.

    Candidates lie in the mask's rectangle, above it and below it. The first of the best is chosen, from the top
    down. A label inside a large mask hides little of it and cannot be taken for the label of another mask.

    Returns:
        Left and top, which are marked as occupied, or None if all candidates overlap other text.
    """
    rest_wh = np.array((mask.pixels.shape[1] - patch_hw[1], mask.pixels.shape[0] - patch_hw[0]), np.float32)
    positions = np.where(rest_wh < 0, np.float32(0.5), _CANDIDATES_XY) * rest_wh + (mask.left, mask.top)
    positions[_ABOVE, 1] = mask.top - patch_hw[0]
    positions[_BELOW, 1] = mask.top + mask.pixels.shape[0]
    max_xy = max(occupied.shape_hw[1] - patch_hw[1], 0), max(occupied.shape_hw[0] - patch_hw[0], 0)
    positions = np.floor(np.minimum(np.maximum(positions, 0), max_xy)).astype(np.float32)
    positions = positions[occupied.are_free(positions, patch_hw)]
    if not len(positions):
        return None
    size_wh = np.array((patch_hw[1], patch_hw[0]), np.float32)
    points = positions[:, None] + _SAMPLE_POINTS_XY * (size_wh - 1)
    on_mask = mask.covers(points.reshape(-1, 2)).reshape(len(positions), -1).sum(axis=1) / len(_SAMPLE_POINTS_XY)
    cost = on_mask * (size_wh.prod() / max(mask.area, 1) - _OUTSIDE_COST)
    if len(boxes_xyxy):
        near = (boxes_xyxy[:, :2] < positions.max(axis=0) + size_wh) & (boxes_xyxy[:, 2:] > positions.min(axis=0))
        hidden = overlap_areas(positions, patch_hw, boxes_xyxy[near[:, 0] & near[:, 1]])
        cost += hidden.sum(axis=1) / size_wh.prod()
    left, top = positions[cost.argmin()].astype(int).tolist()
    occupied.add(left, top, patch_hw)
    return left, top


def paste(picture: PackedPixels, patch: PackedPixels, left: int, top: int) -> None:
    """Copy a patch into the picture, as much of it as is inside."""
    target = picture[top : top + patch.shape[0], left : left + patch.shape[1]]
    target[...] = patch[: target.shape[0], : target.shape[1]]


def label_patch(text: str, background: Colour, size: int) -> PackedPixels:
    """Return (h, w) pixels of a name in letters of `size` px on its colour. Small patches are cached."""
    width, height = _patch_size(text, size)
    if 4 * width * height > MAX_CACHED_PATCH_BYTES:
        return _draw_patch(text, background, size)
    return _cached_patch(text, background, size)


@lru_cache(maxsize=MAX_CACHED_PATCHES)
def _cached_patch(text: str, background: Colour, size: int) -> PackedPixels:
    return _draw_patch(text, background, size)


def _draw_patch(text: str, background: Colour, size: int) -> PackedPixels:
    canvas = Image.new("RGBX", _patch_size(text, size), background)
    ink = INK if is_light(background) else PAPER
    ImageDraw.Draw(canvas).text((_margin(size), canvas.height / 2), text, ink, font(size), anchor="lm")
    return as_uint32(np.asarray(canvas)[..., :3])


def _patch_size(text: str, size: int) -> tuple[int, int]:
    """Return the width and height of a patch."""
    return round(text_width(text, size)) + 2 * _margin(size), size + 2 * _margin(size)


def _margin(size: int) -> int:
    return max(2, size // 5)


@lru_cache(maxsize=4096)
def text_width(text: str, size: int) -> float:
    """Return the width in px of a text in letters of `size` px."""
    return font(size).getlength(text)


@lru_cache(maxsize=32)
def font(size: int) -> ImageFont.FreeTypeFont:
    """Return Pillow's own font, so that pictures are the same on every machine."""
    default = ImageFont.load_default(size)
    if not isinstance(default, ImageFont.FreeTypeFont):
        raise TypeError("Pillow was built without FreeType")
    return default
