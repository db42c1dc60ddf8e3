"""Writes masks, boxes and lines into pixels: arithmetic on four-byte pixels, where they lie and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from shared.vision.colours import Colour, word
from shared.vision.masks import Mask
from shared.vision.pixels import Words

_BAND: Final = 1 << 16  # px at a time: what is between stays in the cache
_QUARTER: Final = np.uint32(0x3F3F3F)


def tint(picture: Words, mask: Mask, ink: Colour, share: int, stroke: int) -> None:
    """Colour on the mask's pixels, `share` times halved (2: a quarter); full within `stroke` px of its outline.

    The outline lies on the mask's own pixels, along the picture's border too. `picture` (h, w); what of the mask
    lies outside is left out.
    """
    mask = mask.cropped(0, 0, picture.shape[1], picture.shape[0])
    height, width = mask.pixels.shape
    if not mask.pixels.size:
        return
    under = picture[mask.top : mask.top + height, mask.left : mask.left + width]
    rows = min(max(_BAND // width, 1), height)
    full, bits, low = np.uint32(word(ink)), np.uint32(share), np.uint32((0xFF >> share) * 0x010101)
    colour = full >> bits & low
    shifts = _shifts(stroke)
    pitch = width + 2 * stroke
    padded = np.zeros((rows + 2 * stroke, pitch), np.uint8)
    inner = np.empty(rows * pitch, np.uint8)
    mixed = np.empty((rows, width), np.uint32)
    for first in range(0, height, rows):
        last = min(first + rows, height)
        above, below = max(first - stroke, 0), min(last + stroke, height)
        # Row `stroke` of the padded band is row `first` of the mask; columns beside it stay zero.
        padded[: stroke - (first - above)] = 0
        padded[stroke - first + above : stroke - first + below, stroke : stroke + width] = mask.pixels[above:below]
        padded[stroke - first + below :] = 0
        size = (last - first) * pitch - 2 * stroke  # from the first pixel of the first row to the last of the last
        flat, start = padded.ravel(), stroke * pitch + stroke
        (y, x), *others = shifts
        here = start + y * pitch + x
        np.bitwise_and(flat[start : start + size], flat[here : here + size], out=inner[:size])
        for y, x in others:
            here = start + y * pitch + x
            np.bitwise_and(inner[:size], flat[here : here + size], out=inner[:size])
        inside = inner[: (last - first) * pitch].reshape(-1, pitch)[:, :width].view(bool)

        band, blend = under[first:last], mixed[: last - first]
        np.right_shift(band, bits, out=blend)
        blend &= low
        np.subtract(band, blend, out=blend)
        blend += colour
        np.copyto(blend, full, where=~inside)
        np.copyto(band, blend, where=mask.pixels[first:last])


def _shifts(stroke: int) -> list[tuple[int, int]]:
    """A pixel that has the mask's pixels in these eight directions is not of the outline: `stroke` away, or so."""
    slant = round(stroke * 0.7)
    sides = [(0, stroke), (0, -stroke), (stroke, 0), (-stroke, 0)]
    slants = [(slant, slant), (slant, -slant), (-slant, slant), (-slant, -slant)]
    return sides + slants if slant < stroke else sides


def frame(picture: Words, box: Sequence[int], ink: Colour, stroke: int) -> None:
    """Outline a box, xyxy px, inside of it."""
    x1, y1, x2, y2 = (max(side, 0) for side in box)
    pixel = np.uint32(word(ink))
    across, down = slice(x1, max(x2, x1 + 1)), slice(y1, max(y2, y1 + 1))
    picture[y1 : y1 + stroke, across] = pixel
    picture[max(y2 - stroke, y1) : down.stop, across] = pixel
    picture[down, x1 : x1 + stroke] = pixel
    picture[down, max(x2 - stroke, x1) : across.stop] = pixel


def grid(picture: Words, tiles_xyxy: npt.NDArray[np.integer], stroke: int) -> None:
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
