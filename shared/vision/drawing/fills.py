"""Writes masks, boxes and tile grids into pixels, with arithmetic on four-byte pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from shared.runtime import deadline
from shared.vision.arrays import BoolArray, PackedPixels
from shared.vision.drawing.colours import Colour, pack_rgb
from shared.vision.masks.masks import Mask

_BAND_PIXELS: Final = 1 << 17  # drawn at a time, so that the scratch memory stays in the CPU's cache
_QUARTER_WHITE: Final = np.uint32(0x3F3F3F)


def fill_masks(
    picture: PackedPixels,
    masks: Sequence[Mask],
    colours: Sequence[Colour],
    strokes: Sequence[int],
    *,
    opacity_shift: int,
) -> None:
    """Blend colours over the pixels of masks, and draw the outlines of the masks in full colour.

    An outline lies on the mask's own pixels, along the picture's border too. The parts of masks outside the
    picture are left out. A band of rows is drawn at a time, in scratch memory that all masks share.

    Args:
        picture: (h, w), written to.
        masks: In px of the picture, drawn one after the other.
        colours: The colour of each mask.
        strokes: The width of each outline in px.
        opacity_shift: The opacity is 1 / 2**opacity_shift.

    Raises:
        DeadlineExceeded: The event's deadline passed.
    """
    masks = [mask.cropped(0, 0, picture.shape[1], picture.shape[0]) for mask in masks]
    max_stroke = max(strokes, default=0)
    max_width = max((mask.pixels.shape[1] for mask in masks), default=0) + 2 * max_stroke
    band_size = max(_BAND_PIXELS, max_width)
    padded = np.empty(band_size + 2 * max_stroke * max_width, np.uint8)
    inner, mixed = np.empty(band_size, np.uint8), np.empty(band_size, np.uint32)
    low_bits = np.uint32((0xFF >> opacity_shift) * 0x010101)  # of each colour, after the shift
    for mask, colour, stroke in zip(masks, colours, strokes, strict=True):
        deadline.check()
        height, width = mask.pixels.shape
        full = np.uint32(pack_rgb(colour))
        rows = band_size // (width + 2 * stroke)
        for first in range(0, height if width else 0, rows):
            columns = np.flatnonzero(mask.pixels[first : first + rows].any(axis=0))
            if not len(columns):
                continue
            left, right = int(columns[0]), int(columns[-1]) + 1  # a slanting mask has only some columns in a band
            pixels = mask.pixels[:, left:right]
            band = pixels[first : first + rows]
            target = picture[mask.top + first :, mask.left + left :][: len(band), : right - left]
            mix = mixed[: band.size].reshape(band.shape)
            np.right_shift(target, np.uint32(opacity_shift), out=mix)
            mix &= low_bits
            np.subtract(target, mix, out=mix)
            mix += full >> np.uint32(opacity_shift) & low_bits
            interior = _interior(pixels, first, len(band), stroke, padded=padded, inner=inner)
            np.copyto(mix, full, where=~interior)
            np.copyto(target, mix, where=band)


def _interior(
    pixels: BoolArray,
    first: int,
    count: int,
    stroke: int,
    *,
    padded: npt.NDArray[np.uint8],
    inner: npt.NDArray[np.uint8],
) -> BoolArray:
    """Return (count, w) which pixels in these rows of a mask are not on its outline (binary erosion).

    A pixel is interior if the mask has pixels in all directions from it, `stroke` px away. The rows are copied to
    `padded` with a margin outside the mask, so that a direction is an offset in the flat array.
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
    size = count * pitch - 2 * stroke  # from the first pixel of the first row to the last pixel of the last row
    start = stroke * pitch + stroke
    first_offset, second_offset, *offsets = (start + y * pitch + x for y, x in _directions(stroke))
    np.bitwise_and(
        padded[first_offset : first_offset + size], padded[second_offset : second_offset + size], out=inner[:size]
    )
    for offset in offsets:
        np.bitwise_and(inner[:size], padded[offset : offset + size], out=inner[:size])
    return inner[: count * pitch].reshape(-1, pitch)[:, :width].view(bool)


def _directions(stroke: int) -> list[tuple[int, int]]:
    """Return y and x of the four sides and, if they differ from these, four diagonals about `stroke` px away."""
    diagonal = round(stroke * 0.7)
    sides = [(0, stroke), (0, -stroke), (stroke, 0), (-stroke, 0)]
    diagonals = [(diagonal, diagonal), (diagonal, -diagonal), (-diagonal, diagonal), (-diagonal, -diagonal)]
    return sides + diagonals if diagonal < stroke else sides


def draw_box(picture: PackedPixels, box: Sequence[int], colour: Colour, stroke: int) -> None:
    """Draw the outline of a box, xyxy px, on the inside of it."""
    x1, y1, x2, y2 = (max(side, 0) for side in box)
    pixel = np.uint32(pack_rgb(colour))
    across, down = slice(x1, max(x2, x1 + 1)), slice(y1, max(y2, y1 + 1))
    picture[y1 : y1 + stroke, across] = pixel
    picture[max(y2 - stroke, y1) : down.stop, across] = pixel
    picture[down, x1 : x1 + stroke] = pixel
    picture[down, max(x2 - stroke, x1) : across.stop] = pixel


def draw_tile_grid(picture: PackedPixels, tiles_xyxy: npt.NDArray[np.integer], stroke: int) -> None:
    """Lighten the edges of tiles (n, 4) px by a quarter. Edges that several tiles share are lightened once."""
    height, width = picture.shape
    x1, y1, x2, y2 = tiles_xyxy.T
    for first_sides, second_sides, starts, stops, length, lines in (
        (x1, x2, y1, y2, width, picture.T),
        (y1, y2, x1, x2, height, picture),
    ):
        positions = np.concatenate((first_sides, second_sides)).tolist()
        spans = zip(positions, np.tile(starts, 2).tolist(), np.tile(stops, 2).tolist(), strict=True)
        for position, start, stop in _merged(sorted(spans)):
            if 0 < position < length:
                line = lines[max(position - stroke // 2, 0) :][:stroke, max(start, 0) : stop]
                line[...] = line - ((line >> np.uint32(2)) & _QUARTER_WHITE) + _QUARTER_WHITE


def _merged(spans: Sequence[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """Merge sorted spans (position, start, stop) that have the same position and touch."""
    merged: list[tuple[int, int, int]] = []
    for position, start, stop in spans:
        if merged and merged[-1][0] == position and start <= merged[-1][2]:
            merged[-1] = position, merged[-1][1], max(stop, merged[-1][2])
        else:
            merged.append((position, start, stop))
    return merged
