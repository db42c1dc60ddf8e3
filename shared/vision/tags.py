"""Words on small patches of colour, drawn by Pillow, and where on a picture they hide little."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from shared.vision.colours import INK, PAPER, Colour, is_light
from shared.vision.detections import Floats
from shared.vision.masks import Mask
from shared.vision.pixels import Pixels

_ASIDE: Final = 0.3  # a tag beside its segment is as bad as one that hides so much of it
_POINTS: Final = np.array(((0, 0), (1, 0), (0.5, 0.5), (0, 1), (1, 1)))  # of a tag


class Room:
    """The rectangles of a picture that are taken, so that no words cover each other."""

    def __init__(self, shape_hw: tuple[int, int], most: int) -> None:
        self.shape_hw = shape_hw
        self._taken = np.empty((most, 4), np.float32)
        self._count = 0

    def take(self, left: int, top: int, patch_hw: tuple[int, ...]) -> None:
        self._taken[self._count] = left, top, left + patch_hw[1], top + patch_hw[0]
        self._count += 1

    def free(self, places_xy: Floats, patch_hw: tuple[int, ...]) -> npt.NDArray[np.bool_]:
        """(n,) at which of the places (n, 2) a patch touches nothing taken."""
        free: npt.NDArray[np.bool_] = np.all(covered(places_xy, patch_hw, self._taken[: self._count]) <= 0, axis=1)
        return free


def covered(places_xy: Floats, patch_hw: tuple[int, ...], boxes_xyxy: Floats) -> Floats:
    """(places, boxes) px of each box under a patch whose left upper corner is at each place."""
    ends = places_xy + np.array(patch_hw[1::-1], np.float32)
    start = np.maximum(places_xy[:, None], boxes_xyxy[None, :, :2])
    stop = np.minimum(ends[:, None], boxes_xyxy[None, :, 2:])
    sides = np.maximum(stop - start, 0)
    areas: Floats = sides[..., 0] * sides[..., 1]
    return areas


def above_box(room: Room, box: Sequence[float], patch_hw: tuple[int, ...]) -> tuple[int, int] | None:
    """Left and top of a tag that sits on a box, or under its upper edge at the picture's; None: it is taken."""
    left = max(min(round(box[0]), room.shape_hw[1] - patch_hw[1]), 0)
    top = round(box[1]) - patch_hw[0] if box[1] >= patch_hw[0] else round(box[1])
    if not room.free(np.array(((left, top),), np.float32), patch_hw)[0]:
        return None
    room.take(left, top, patch_hw)
    return left, top


def at_mask(room: Room, mask: Mask, patch_hw: tuple[int, ...], boxes_xyxy: Floats) -> tuple[int, int] | None:
    """Left and top of a tag where it hides the least of boxes and of the mask itself; None: all is taken.

    Of places in the mask's rectangle, above it and below it, the uppermost of the best.
    A tag in a large mask hides little of it, and nobody asks whose it is.
    """
    (height, width), (tag_h, tag_w) = mask.pixels.shape, patch_hw[:2]
    xs = _steps(mask.left, mask.left + width - tag_w)
    ys = _steps(mask.top, mask.top + height - tag_h)
    ys = np.concatenate(((mask.top - tag_h,), ys, (mask.top + height,)))
    grid = np.stack([each.ravel() for each in np.meshgrid(xs, ys)], axis=1)
    corner = np.maximum(np.array(room.shape_hw) - patch_hw[:2], 0)[::-1]
    places: Floats = grid.clip(0, corner).astype(np.float32)
    places = places[room.free(places, patch_hw)]
    if not len(places):
        return None
    size_wh = np.array((tag_w, tag_h))
    near = (boxes_xyxy[:, :2] < places.max(axis=0) + size_wh) & (boxes_xyxy[:, 2:] > places.min(axis=0))
    hidden = covered(places, patch_hw, boxes_xyxy[near.all(axis=1)]).sum(axis=1) / (tag_h * tag_w)
    points = places[:, None] + _POINTS * (size_wh - 1)
    inside = mask.covers(points.reshape(-1, 2).astype(np.float32)).reshape(len(places), -1).mean(axis=1)
    of_mask = tag_h * tag_w / max(mask.area, 1)
    left, top = places[(hidden + inside * of_mask + (1 - inside) * _ASIDE).argmin()].astype(int).tolist()
    room.take(left, top, patch_hw)
    return left, top


def _steps(low: int, high: int) -> npt.NDArray[np.int64]:
    """Seven from low to high, or the middle of both if there is no room between."""
    if high < low:
        low = high = (low + high) // 2
    return np.unique(np.linspace(low, high, 7).astype(np.int64))


def paste(picture: Pixels, patch: Pixels, left: int, top: int) -> None:
    """Lay (h, w, 4) RGBA over the picture, as much of it as is inside."""
    under = picture[top : top + patch.shape[0], left : left + patch.shape[1]]
    patch = patch[: under.shape[0], : under.shape[1]]
    alpha = patch[..., 3:].astype(np.uint16)
    under[...] = (patch[..., :3] * alpha + under * (255 - alpha) + 127) // 255


@lru_cache(maxsize=512)
def tag(text: str, background: Colour, size: int) -> Pixels:
    """A word on its colour, (h, w, 4) RGBA."""
    margin = max(2, size // 5)
    canvas = Image.new("RGBA", (round(length(text, size)) + 2 * margin, size + 2 * margin), background)
    ink = INK if is_light(background) else PAPER
    ImageDraw.Draw(canvas).text((margin, canvas.height / 2), text, ink, font(size), anchor="lm")
    return np.asarray(canvas)


@lru_cache(maxsize=4096)
def length(text: str, size: int) -> float:
    """Of a word in letters of that size, in px."""
    return font(size).getlength(text)


@lru_cache(maxsize=32)
def font(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own font: nothing to install, the same picture on every machine."""
    found = ImageFont.load_default(size)
    if not isinstance(found, ImageFont.FreeTypeFont):
        raise TypeError("Pillow was built without FreeType")
    return found
