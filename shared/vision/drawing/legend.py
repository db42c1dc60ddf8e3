"""Draws the legend in a corner of a picture: rows of a colour, a name and a value, as many as fit."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image, ImageDraw

from shared.vision.arrays import Float32Array, Pixels, SizeHW
from shared.vision.drawing.colours import INK, PAPER, Colour
from shared.vision.drawing.labels import font, overlap_areas, text_width
from shared.vision.masks.masks import Mask

MAX_ROWS: Final = 12
_SHADE: Final = (74, 80, 90)


@dataclass(frozen=True, slots=True)
class LegendRow:
    """A name and a value.

    A row with `colour` has a swatch. `share`, 0 to 1, is the part of the row's width that is shaded, as in a bar
    chart.
    """

    name: str
    value: str
    colour: Colour | None = None
    share: float = 0.0


def legend(rows: Sequence[LegendRow], max_hw: SizeHW, unit: float) -> Pixels | None:
    """Draw a legend that is no larger than `max_hw`.

    Rows that do not fit are replaced by a last row "+n more". Names that are too long are shortened.

    Args:
        rows: The rows, in order.
        max_hw: The largest height and width.
        unit: The scale of the picture: 1 for letters of 20 px.

    Returns:
        (h, w, 4) RGBA, or None if there are no rows, or no row or no letter of a name fits.
    """
    size = max(12, round(20 * unit))
    step, margin, swatch = round(size * 1.45), max(5, round(9 * unit)), round(size * 0.8)
    max_rows = min(MAX_ROWS, (max_hw[0] - margin) // step)
    if not rows or max_rows < 1:
        return None
    if len(rows) > max_rows:
        omitted = len(rows) - max_rows + 1
        rows = [*rows[: max_rows - 1], LegendRow(f"+{omitted} more", "")]
    indent = 2 * margin + swatch if any(row.colour for row in rows) else margin
    max_name_width = max_hw[1] - indent - 3 * margin - max(text_width(row.value, size) for row in rows)
    names = [_shortened(row.name, size, max_name_width) for row in rows]
    if not all(names):
        return None
    name_width = max(text_width(name, size) for name in names)
    width = round(indent + name_width + 3 * margin + max(text_width(row.value, size) for row in rows))
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


def emptiest_corner(
    shape_hw: SizeHW,
    legend_hw: tuple[int, ...],
    boxes_xyxy: Float32Array,
    masks: Sequence[Mask],
    *,
    margin: int,
) -> tuple[int, int]:
    """Return left and top of a legend in the corner where it hides the fewest boxes.

    Among those, it is the corner where it hides the fewest pixels of masks. Among those, it is the first of lower
    left, upper left, lower right and upper right.
    """
    right, bottom = (max(shape_hw[axis] - legend_hw[axis] - margin, 0) for axis in (1, 0))
    left, top = min(margin, right), min(margin, bottom)
    corners = ((left, bottom), (left, top), (right, bottom), (right, top))
    positions = np.array(corners, np.float32)
    hidden_boxes = (overlap_areas(positions, legend_hw, boxes_xyxy) > 0).sum(axis=1)
    bounds = [
        (mask.left, mask.top, mask.left + mask.pixels.shape[1], mask.top + mask.pixels.shape[0]) for mask in masks
    ]
    overlapping = overlap_areas(positions, legend_hw, np.array(bounds, np.float32).reshape(-1, 4)) > 0
    hidden_pixels = [0, 0, 0, 0]
    for corner, index in np.argwhere(overlapping).tolist():
        x, y = corners[corner]
        hidden_pixels[corner] += masks[index].cropped(x, y, x + legend_hw[1], y + legend_hw[0]).area
    return corners[np.lexsort((hidden_pixels, hidden_boxes))[0]]


def overlay(picture: Pixels, patch: Pixels, left: int, top: int) -> None:
    """Blend an RGBA patch (h, w, 4) that lies inside the picture (h, w, 3) over it."""
    target = picture[top : top + patch.shape[0], left : left + patch.shape[1]]
    alpha = patch[..., 3:].astype(np.uint16)
    target[...] = (patch[..., :3] * alpha + target * (255 - alpha) + 127) // 255


def _shortened(name: str, size: int, max_width: float) -> str:
    """Return the name, or its longest beginning that fits into `max_width` px with an ellipsis.

    The result is empty if not even one letter fits. The beginning is found by binary search, because names come
    from the model's file and may be very long.
    """
    if text_width(name, size) <= max_width:
        return name
    lengths = range(1, len(name))
    kept = bisect_right(lengths, max_width, key=lambda length: font(size).getlength(name[:length] + "…"))
    return name[:kept] + "…" if kept else ""
