"""Draws what was found on a copy of the image: boxes, labels where there is room, counts in a corner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from shared.vision.detections import Detections

Pixels = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]

# Bright against soil and leaves, and told apart by those who see colours differently.
PALETTE: Final[tuple[Colour, ...]] = (
    (255, 64, 160),
    (0, 200, 255),
    (255, 214, 0),
    (255, 120, 0),
    (122, 92, 255),
    (255, 255, 255),
    (0, 235, 170),
    (235, 50, 50),
)
_INK: Final = (16, 18, 22)
_PAPER: Final = (250, 250, 250)


def annotate(image: Pixels, detections: Detections, *, labels: Sequence[str], counts: Mapping[str, int]) -> Pixels:
    """A picture of `detections` (boxes in px of `image`) for a person; `image` (h, w, 3) stays as it is."""
    picture = image.copy()
    unit = _unit(image.shape[:2])
    for box, class_id in zip(
        np.rint(detections.boxes_xyxy).astype(int).tolist(), detections.class_ids.tolist(), strict=True
    ):
        _frame(picture, box, colour(class_id), unit)
    canvas = Image.fromarray(picture)
    _write_labels(canvas, detections, labels, unit)
    _write_counts(canvas, [(label, counts.get(label, 0)) for label in labels], unit)
    return np.asarray(canvas)


def colour(class_id: int) -> Colour:
    return PALETTE[class_id % len(PALETTE)]


def _unit(shape_hw: tuple[int, ...]) -> float:
    """What one pixel is on a picture of 1000 px: strokes and letters grow with the picture."""
    return max(shape_hw[0], shape_hw[1], 480) / 1000


def _frame(picture: Pixels, box: Sequence[int], ink: Colour, unit: float) -> None:
    """Outline a box, thinner where the box itself is small."""
    x1, y1, x2, y2 = box
    stroke = max(1, round(min(2.6 * unit, min(x2 - x1, y2 - y1) / 8)))
    inside = slice(max(x1, 0), max(x2, x1 + 1)), slice(max(y1, 0), max(y2, y1 + 1))
    picture[y1 : y1 + stroke, inside[0]] = ink
    picture[max(y2 - stroke, y1) : max(y2, y1 + 1), inside[0]] = ink
    picture[inside[1], x1 : x1 + stroke] = ink
    picture[inside[1], max(x2 - stroke, x1) : max(x2, x1 + 1)] = ink


def _write_labels(canvas: Image.Image, detections: Detections, labels: Sequence[str], unit: float) -> None:
    """Name the boxes, strongest first, where a name fits its box and covers no other name."""
    draw = ImageDraw.Draw(canvas)
    font = _font(max(11, round(15 * unit)))
    margin = max(2, round(3 * unit))
    placed = np.empty((0, 4), np.float32)
    for (x1, y1, x2, _), confidence, class_id in zip(
        detections.boxes_xyxy.tolist(),
        detections.confidences.tolist(),
        detections.class_ids.tolist(),
        strict=True,
    ):
        name = labels[class_id]
        text = next((t for t in (f"{name} {confidence:.0%}", name) if font.getlength(t) <= x2 - x1), None)
        if text is None:
            continue
        width = font.getlength(text) + 2 * margin
        height = font.size + 2 * margin
        left = min(max(x1, 0.0), max(canvas.width - width, 0.0))
        top = y1 - height if y1 >= height else y1
        tag = np.array((left, top, left + width, top + height), np.float32)
        if np.any(np.all((placed[:, :2] < tag[2:]) & (placed[:, 2:] > tag[:2]), axis=1)):
            continue
        placed = np.concatenate((placed, tag[None]))
        draw.rectangle(tag.tolist(), fill=colour(class_id))
        draw.text((left + margin, top + height / 2), text, _ink_on(colour(class_id)), font, anchor="lm")


def _write_counts(canvas: Image.Image, counts: Sequence[tuple[str, int]], unit: float) -> None:
    """A card in the lower left corner: each label's colour, name and count; the zeros too."""
    draw = ImageDraw.Draw(canvas)
    font = _font(max(12, round(20 * unit)))
    row, margin = round(font.size * 1.45), max(5, round(9 * unit))
    room = max((canvas.height - 2 * margin) // row - 1, 1)
    rows = sorted(counts, key=lambda each: -each[1])[:room]
    name_width = max((font.getlength(name) for name, _ in rows), default=0)
    count_width = max((font.getlength(str(count)) for _, count in rows), default=0)
    swatch = font.size * 0.8
    width = margin + swatch + margin + name_width + 2 * margin + count_width + margin
    height = row * len(rows) + margin
    left, top = margin, canvas.height - margin - height
    draw.rounded_rectangle((left, top, left + width, top + height), radius=margin, fill=_INK)
    class_ids = {name: index for index, (name, _) in enumerate(counts)}
    for index, (name, count) in enumerate(rows):
        middle = top + margin / 2 + row * (index + 0.5)
        x = left + margin
        draw.rectangle((x, middle - swatch / 2, x + swatch, middle + swatch / 2), fill=colour(class_ids[name]))
        draw.text((x + swatch + margin, middle), name, _PAPER, font, anchor="lm")
        draw.text((left + width - margin, middle), str(count), _PAPER, font, anchor="rm")


def _ink_on(background: Colour) -> Colour:
    red, green, blue = background
    return _INK if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else _PAPER


@lru_cache(maxsize=32)
def _font(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own font: nothing to install, the same picture on every machine."""
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise TypeError("Pillow was built without FreeType")
    return font
