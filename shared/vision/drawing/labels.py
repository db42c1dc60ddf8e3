"""Words on small patches of colour, drawn by Pillow, and where on a picture they hide little."""

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

_ASIDE: Final = 0.3  # a tag beside its segment is as bad as one that hides so much of it
_POINTS: Final = np.array(((0, 0), (1, 0), (0.5, 0.5), (0, 1), (1, 1)), np.float32)  # of a tag
# Where it may be in the room that a mask's rectangle leaves it: from row to row, and two rows for those outside.
_STEPS: Final = np.linspace(0, 1, 7, dtype=np.float32)
_PLACES: Final = np.stack((np.tile(_STEPS, 9), np.concatenate((_STEPS[:1], _STEPS, _STEPS[:1])).repeat(7)), axis=1)
_ABOVE: Final = slice(0, 7)
_BELOW: Final = slice(56, 63)


class OccupiedAreas:
    """The rectangles of a picture that are taken, so that no words cover each other."""

    def __init__(self, shape_hw: SizeHW, most: int) -> None:
        self.shape_hw = shape_hw
        self._taken = np.empty((most, 4), np.float32)
        self._count = 0

    def take(self, left: int, top: int, patch_hw: tuple[int, ...]) -> None:
        self._taken[self._count] = left, top, left + patch_hw[1], top + patch_hw[0]
        self._count += 1

    def free(self, places_xy: Float32Array, patch_hw: tuple[int, ...]) -> BoolArray:
        """(n,) at which of the places (n, 2) a patch touches nothing taken."""
        free: BoolArray = np.all(overlap_areas(places_xy, patch_hw, self._taken[: self._count]) <= 0, axis=1)
        return free


def overlap_areas(places_xy: Float32Array, patch_hw: tuple[int, ...], boxes_xyxy: Float32Array) -> Float32Array:
    """(places, boxes) px of each box under a patch whose left upper corner is at each place."""
    ends = places_xy + np.array(patch_hw[1::-1], np.float32)
    start = np.maximum(places_xy[:, None], boxes_xyxy[None, :, :2])
    stop = np.minimum(ends[:, None], boxes_xyxy[None, :, 2:])
    sides = np.maximum(stop - start, 0)
    areas: Float32Array = sides[..., 0] * sides[..., 1]
    return areas


def place_above_box(
    room: OccupiedAreas, box: Sequence[float], patch_hw: tuple[int, ...]
) -> tuple[int, int] | None:
    """Left and top of a tag that sits on a box, or under its upper edge at the picture's; None: it is taken."""
    left = max(min(round(box[0]), room.shape_hw[1] - patch_hw[1]), 0)
    top = round(box[1]) - patch_hw[0] if box[1] >= patch_hw[0] else round(box[1])
    if not room.free(np.array(((left, top),), np.float32), patch_hw)[0]:
        return None
    room.take(left, top, patch_hw)
    return left, top


def place_on_mask(
    room: OccupiedAreas, mask: Mask, patch_hw: tuple[int, ...], boxes_xyxy: Float32Array
) -> tuple[int, int] | None:
    """Left and top of a tag where it hides the least of boxes and of the mask itself; None: all is taken.

    Of places in the mask's rectangle, above it and below it, the uppermost of the best.
    A tag in a large mask hides little of it, and nobody asks whose it is.
    """
    rest_wh = np.array((mask.pixels.shape[1] - patch_hw[1], mask.pixels.shape[0] - patch_hw[0]), np.float32)
    places = np.where(rest_wh < 0, np.float32(0.5), _PLACES) * rest_wh + (mask.left, mask.top)
    places[_ABOVE, 1] = mask.top - patch_hw[0]
    places[_BELOW, 1] = mask.top + mask.pixels.shape[0]
    most_xy = max(room.shape_hw[1] - patch_hw[1], 0), max(room.shape_hw[0] - patch_hw[0], 0)
    places = np.floor(np.minimum(np.maximum(places, 0), most_xy)).astype(np.float32)
    places = places[room.free(places, patch_hw)]
    if not len(places):
        return None
    size_wh = np.array((patch_hw[1], patch_hw[0]), np.float32)
    points = places[:, None] + _POINTS * (size_wh - 1)
    inside = mask.covers(points.reshape(-1, 2)).reshape(len(places), -1).sum(axis=1) / len(_POINTS)
    of_tag = size_wh.prod() / max(mask.area, 1)
    hidden = inside * (of_tag - _ASIDE)
    if len(boxes_xyxy):
        near = (boxes_xyxy[:, :2] < places.max(axis=0) + size_wh) & (boxes_xyxy[:, 2:] > places.min(axis=0))
        hidden += overlap_areas(places, patch_hw, boxes_xyxy[near[:, 0] & near[:, 1]]).sum(axis=1) / size_wh.prod()
    left, top = places[hidden.argmin()].astype(int).tolist()
    room.take(left, top, patch_hw)
    return left, top


def paste(picture: PackedPixels, patch: PackedPixels, left: int, top: int) -> None:
    """Lay a patch over the picture, as much of it as is inside."""
    under = picture[top : top + patch.shape[0], left : left + patch.shape[1]]
    under[...] = patch[: under.shape[0], : under.shape[1]]


@lru_cache(maxsize=512)
def label_patch(text: str, background: Colour, size: int) -> PackedPixels:
    """A word on its colour, (h, w)."""
    margin = max(2, size // 5)
    canvas = Image.new("RGBX", (round(text_width(text, size)) + 2 * margin, size + 2 * margin), background)
    ink = INK if is_light(background) else PAPER
    ImageDraw.Draw(canvas).text((margin, canvas.height / 2), text, ink, font(size), anchor="lm")
    return as_uint32(np.asarray(canvas)[..., :3])


@lru_cache(maxsize=4096)
def text_width(text: str, size: int) -> float:
    """Of a word in letters of that size, in px."""
    return font(size).getlength(text)


@lru_cache(maxsize=32)
def font(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own font: nothing to install, the same picture on every machine."""
    found = ImageFont.load_default(size)
    if not isinstance(found, ImageFont.FreeTypeFont):
        raise TypeError("Pillow was built without FreeType")
    return found
