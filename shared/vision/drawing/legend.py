"""The card in a corner of a picture: rows of a colour, a name and a value, as many as there is room for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image, ImageDraw

from shared.vision.arrays import Float32Array, Pixels, SizeHW
from shared.vision.drawing.colours import INK, PAPER, Colour
from shared.vision.drawing.labels import font, overlap_areas, text_width
from shared.vision.masks.masks import Mask

_MOST: Final = 12  # rows
_SHADE: Final = (74, 80, 90)


@dataclass(frozen=True, slots=True)
class LegendRow:
    """`colour` None: the row has no swatch. `share`, 0 to 1: how much of the row is shaded."""

    name: str
    value: str
    colour: Colour | None = None
    share: float = 0.0


def legend(rows: Sequence[LegendRow], room_hw: SizeHW, unit: float) -> Pixels | None:
    """(h, w, 4) RGBA, no larger than `room_hw`; None: nothing to say, or no room for a row of it."""
    size = max(12, round(20 * unit))
    step, margin, swatch = round(size * 1.45), max(5, round(9 * unit)), round(size * 0.8)
    fitting = min(_MOST, (room_hw[0] - margin) // step)
    if not rows or fitting < 1:
        return None
    if len(rows) > fitting:
        rest = len(rows) - fitting + 1
        rows = [*rows[: fitting - 1], LegendRow(f"+{rest} more", "")]
    indent = 2 * margin + swatch if any(row.colour for row in rows) else margin
    most = room_hw[1] - indent - 3 * margin - max(text_width(row.value, size) for row in rows)
    names = [_shortened(row.name, size, most) for row in rows]
    if not all(names):
        return None
    widest = max(text_width(name, size) for name in names)
    width = round(indent + widest + 3 * margin + max(text_width(row.value, size) for row in rows))
    canvas = Image.new("RGBA", (width, step * len(rows) + margin))
    draw = ImageDraw.Draw(canvas)
    draw.rounded_rectangle((0, 0, canvas.width - 1, canvas.height - 1), radius=margin, fill=(*INK, 225))
    for index, (row, name) in enumerate(zip(rows, names, strict=True)):
        middle = margin / 2 + step * (index + 0.5)
        if row.share > 0:
            right = margin / 2 + (width - margin) * row.share
            draw.rectangle((margin / 2, middle - step * 0.42, right, middle + step * 0.42), fill=(*_SHADE, 235))
        if row.colour:
            draw.rectangle((margin, middle - swatch / 2, margin + swatch, middle + swatch / 2), fill=row.colour)
        draw.text((indent if row.colour else margin, middle), name, PAPER, font(size), anchor="lm")
        draw.text((width - margin, middle), row.value, PAPER, font(size), anchor="rm")
    return np.asarray(canvas)


def least_covered_corner(
    shape_hw: SizeHW,
    card_hw: tuple[int, ...],
    boxes_xyxy: Float32Array,
    masks: Sequence[Mask],
    *,
    margin: int,
) -> tuple[int, int]:
    """Left and top of the corner where a card hides the fewest boxes, then the least of masks: lower left, if all
    are alike.
    """
    right, bottom = (max(shape_hw[axis] - card_hw[axis] - margin, 0) for axis in (1, 0))
    left, top = min(margin, right), min(margin, bottom)
    corners = ((left, bottom), (left, top), (right, bottom), (right, top))
    places = np.array(corners, np.float32)
    boxes = (overlap_areas(places, card_hw, boxes_xyxy) > 0).sum(axis=1)
    outer = [
        (mask.left, mask.top, mask.left + mask.pixels.shape[1], mask.top + mask.pixels.shape[0]) for mask in masks
    ]
    pixels = [0, 0, 0, 0]
    for corner, index in np.argwhere(
        overlap_areas(places, card_hw, np.array(outer, np.float32).reshape(-1, 4)) > 0
    ).tolist():
        x, y = corners[corner]
        pixels[corner] += masks[index].cropped(x, y, x + card_hw[1], y + card_hw[0]).area
    return corners[np.lexsort((pixels, boxes))[0]]


def overlay(picture: Pixels, patch: Pixels, left: int, top: int) -> None:
    """Lay (h, w, 4) RGBA, which is inside, over the picture (h, w, 3)."""
    under = picture[top : top + patch.shape[0], left : left + patch.shape[1]]
    alpha = patch[..., 3:].astype(np.uint16)
    under[...] = (patch[..., :3] * alpha + under * (255 - alpha) + 127) // 255


def _shortened(name: str, size: int, most: float) -> str:
    """As much of the name as is no longer than `most` px; empty: not even a letter."""
    if text_width(name, size) <= most:
        return name
    kept = len(name) - 1
    while kept and text_width(name[:kept] + "…", size) > most:
        kept -= 1
    return name[:kept] + "…" if kept else ""
