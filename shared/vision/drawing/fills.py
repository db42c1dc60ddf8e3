"""Writes masks, boxes and lines into pixels: arithmetic on four-byte pixels, where they lie and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from shared.vision.arrays import BoolArray, PackedPixels
from shared.vision.drawing.colours import Colour, pack_rgb
from shared.vision.masks.masks import Mask

_BAND: Final = 1 << 17  # px at a time: what is between stays near, and calls are few
_QUARTER: Final = np.uint32(0x3F3F3F)


def fill_masks(
    picture: PackedPixels, masks: Sequence[Mask], inks: Sequence[Colour], strokes: Sequence[int], *, share: int
) -> None:
    """Colour on masks' pixels, `share` times halved (2: a quarter), and full at most `strokes` px from an outline.

    The outlines lie on the masks' own pixels, along the picture's border too. `picture` (h, w); what of a mask is
    outside is left out. A band of rows at a time, in the same memory for all.
    """
    masks = [mask.cropped(0, 0, picture.shape[1], picture.shape[0]) for mask in masks]
    widest = max((mask.pixels.shape[1] for mask in masks), default=0) + 2 * max(strokes, default=0)
    most = max(_BAND, widest)
    padded = np.empty(most + 2 * max(strokes, default=0) * widest, np.uint8)
    inner, mixed = np.empty(most, np.uint8), np.empty(most, np.uint32)
    low = np.uint32((0xFF >> share) * 0x010101)
    for mask, ink, stroke in zip(masks, inks, strokes, strict=True):
        height, width = mask.pixels.shape
        full = np.uint32(pack_rgb(ink))
        rows = most // (width + 2 * stroke)
        for first in range(0, height if width else 0, rows):
            columns = np.flatnonzero(mask.pixels[first : first + rows].any(axis=0))
            if not len(columns):
                continue
            left, right = int(columns[0]), int(columns[-1]) + 1  # of a slanting mask, a band has only a part
            pixels = mask.pixels[:, left:right]
            band = pixels[first : first + rows]
            under = picture[mask.top + first :, mask.left + left :][: len(band), : right - left]
            mix = mixed[: band.size].reshape(band.shape)
            np.right_shift(under, np.uint32(share), out=mix)
            mix &= low
            np.subtract(under, mix, out=mix)
            mix += full >> np.uint32(share) & low
            inside = _inside(pixels, first, len(band), stroke, padded=padded, inner=inner)
            np.copyto(mix, full, where=~inside)
            np.copyto(under, mix, where=band)


def _inside(
    pixels: BoolArray,
    first: int,
    count: int,
    stroke: int,
    *,
    padded: npt.NDArray[np.uint8],
    inner: npt.NDArray[np.uint8],
) -> BoolArray:
    """(count, w) which pixels of these rows of a mask have others of it all around, `stroke` px away.

    In `padded`, the rows with a margin on each side that is not of the mask, a direction is an offset.
    """
    height, width = pixels.shape
    pitch = width + 2 * stroke
    above, below = min(first, stroke), min(height - first - count, stroke)
    lines = padded[: (count + 2 * stroke) * pitch].reshape(-1, pitch)
    lines[: stroke - above] = 0
    lines[stroke - above : stroke + count + below, stroke : stroke + width] = pixels[
        first - above : first + count + below
    ]
    lines[stroke + count + below :] = 0
    lines[:, :stroke] = 0
    lines[:, stroke + width :] = 0
    size = count * pitch - 2 * stroke  # from the first pixel of the first row to the last of the last one
    start = stroke * pitch + stroke
    one, other, *rest = (start + y * pitch + x for y, x in _shifts(stroke))
    np.bitwise_and(padded[one : one + size], padded[other : other + size], out=inner[:size])
    for place in rest:
        np.bitwise_and(inner[:size], padded[place : place + size], out=inner[:size])
    return inner[: count * pitch].reshape(-1, pitch)[:, :width].view(bool)


def _shifts(stroke: int) -> list[tuple[int, int]]:
    """A pixel that has the mask's pixels in these eight directions is not of the outline: `stroke` away, or so."""
    slant = round(stroke * 0.7)
    sides = [(0, stroke), (0, -stroke), (stroke, 0), (-stroke, 0)]
    slants = [(slant, slant), (slant, -slant), (-slant, slant), (-slant, -slant)]
    return sides + slants if slant < stroke else sides


def draw_box(picture: PackedPixels, box: Sequence[int], ink: Colour, stroke: int) -> None:
    """Outline a box, xyxy px, inside of it."""
    x1, y1, x2, y2 = (max(side, 0) for side in box)
    pixel = np.uint32(pack_rgb(ink))
    across, down = slice(x1, max(x2, x1 + 1)), slice(y1, max(y2, y1 + 1))
    picture[y1 : y1 + stroke, across] = pixel
    picture[max(y2 - stroke, y1) : down.stop, across] = pixel
    picture[down, x1 : x1 + stroke] = pixel
    picture[down, max(x2 - stroke, x1) : across.stop] = pixel


def draw_tile_grid(picture: PackedPixels, tiles_xyxy: npt.NDArray[np.integer], stroke: int) -> None:
    """The edges of tiles, (n, 4) px, a quarter lighter than what they lie on; a line of many tiles is one line."""
    height, width = picture.shape
    x1, y1, x2, y2 = tiles_xyxy.T
    for begins, ends, froms, tos, length, lines in (
        (x1, x2, y1, y2, width, picture.T),
        (y1, y2, x1, x2, height, picture),
    ):
        at = np.concatenate((begins, ends)).tolist()
        spans = zip(at, np.tile(froms, 2).tolist(), np.tile(tos, 2).tolist(), strict=True)
        for place, start, stop in _joined(sorted(spans)):
            if 0 < place < length:
                line = lines[max(place - stroke // 2, 0) :][:stroke, max(start, 0) : stop]
                line[...] = line - ((line >> np.uint32(2)) & _QUARTER) + _QUARTER


def _joined(spans: Sequence[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """(place, start, stop), sorted; those of one place that touch are one."""
    joined: list[tuple[int, int, int]] = []
    for place, start, stop in spans:
        if joined and joined[-1][0] == place and start <= joined[-1][2]:
            joined[-1] = place, joined[-1][1], max(stop, joined[-1][2])
        else:
            joined.append((place, start, stop))
    return joined
