"""Draws what was found on a copy of the image: boxes, labels where there is room, counts in a corner.

Boxes are written into the array itself; letters are drawn by Pillow on small tags, never on the whole image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from shared.vision.detections import Detections
from shared.vision.pixels import Pixels, rgb_view, rgbx

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
_CROWD: Final = 40  # boxes; of more than that, tags would hide what they name, and colours and counts must do
_INK: Final = (16, 18, 22)
_PAPER: Final = (250, 250, 250)


def annotate(image: Pixels, detections: Detections, *, labels: Sequence[str], counts: Mapping[str, int]) -> Pixels:
    """A picture of `detections` (boxes in px of `image`) for a person; `image` (h, w, 3) stays as it is."""
    picture = rgb_view(rgbx(image).copy())
    unit = _unit(image.shape[:2])
    for box, class_id in zip(
        np.rint(detections.boxes_xyxy).astype(int).tolist(), detections.class_ids.tolist(), strict=True
    ):
        _frame(picture, box, colour(class_id), unit)
    if len(detections) <= _CROWD:
        _write_labels(picture, detections, labels, unit)
    card = _counts_card([(name, counts.get(name, 0)) for name in labels], picture.shape[0], unit)
    left, top = _quietest_corner(picture.shape[:2], card.shape[:2], detections, margin=round(8 * unit))
    _paste(picture, card, left, top)
    return picture


def colour(class_id: int) -> Colour:
    return PALETTE[class_id % len(PALETTE)]


def _unit(shape_hw: tuple[int, ...]) -> float:
    """What one pixel is on a picture of 1000 px: strokes and letters grow with the picture."""
    return max(shape_hw[0], shape_hw[1], 480) / 1000


def _frame(picture: Pixels, box: Sequence[int], ink: Colour, unit: float) -> None:
    """Outline a box, thinner where the box itself is small."""
    x1, y1, x2, y2 = box
    stroke = max(1, round(min(2.6 * unit, min(x2 - x1, y2 - y1) / 8)))
    across, down = slice(x1, max(x2, x1 + 1)), slice(y1, max(y2, y1 + 1))
    picture[y1 : y1 + stroke, across] = ink
    picture[max(y2 - stroke, y1) : down.stop, across] = ink
    picture[down, x1 : x1 + stroke] = ink
    picture[down, max(x2 - stroke, x1) : across.stop] = ink


def _write_labels(picture: Pixels, detections: Detections, labels: Sequence[str], unit: float) -> None:
    """Name the boxes, strongest first, where a name fits its box and covers no other name."""
    size = max(11, round(15 * unit))
    placed = np.empty((len(detections), 4), np.float32)
    count = 0
    for (x1, y1, x2, _), confidence, class_id in zip(
        detections.boxes_xyxy.tolist(),
        detections.confidences.tolist(),
        detections.class_ids.tolist(),
        strict=True,
    ):
        name = labels[class_id]
        texts = (f"{name} {confidence:.0%}", name)
        text = next((each for each in texts if _length(each, size) <= x2 - x1), None)
        if text is None:
            continue
        tag = _tag(text, colour(class_id), size)
        height, width = tag.shape[:2]
        left = max(min(round(x1), picture.shape[1] - width), 0)
        top = round(y1) - height if y1 >= height else round(y1)
        others = placed[:count]
        ends = np.array((left + width, top + height), np.float32)
        starts = np.array((left, top), np.float32)
        if np.any(np.all((others[:, :2] < ends) & (others[:, 2:] > starts), axis=1)):
            continue
        placed[count] = (*starts, *ends)
        count += 1
        _paste(picture, tag, left, top)


def _paste(picture: Pixels, patch: Pixels, left: int, top: int) -> None:
    """Lay (h, w, 4) RGBA over the picture, as much of it as is inside."""
    under = picture[top : top + patch.shape[0], left : left + patch.shape[1]]
    patch = patch[: under.shape[0], : under.shape[1]]
    alpha = patch[..., 3:].astype(np.uint16)
    under[...] = (patch[..., :3] * alpha + under * (255 - alpha) + 127) // 255


@lru_cache(maxsize=512)
def _tag(text: str, background: Colour, size: int) -> Pixels:
    """A word on its colour, (h, w, 4) RGBA."""
    margin = max(2, size // 5)
    canvas = Image.new("RGBA", (round(_length(text, size)) + 2 * margin, size + 2 * margin), background)
    ink = _INK if _is_light(background) else _PAPER
    ImageDraw.Draw(canvas).text((margin, canvas.height / 2), text, ink, _font(size), anchor="lm")
    return np.asarray(canvas)


@lru_cache(maxsize=4096)
def _length(text: str, size: int) -> float:
    return _font(size).getlength(text)


def _counts_card(counts: Sequence[tuple[str, int]], height: int, unit: float) -> Pixels:
    """Each label's colour, name and count, most first, the zeros too: (h, w, 4) RGBA, at most `height` high."""
    size = max(12, round(20 * unit))
    row, margin, swatch = round(size * 1.45), max(5, round(9 * unit)), round(size * 0.8)
    colours = {name: colour(index) for index, (name, _) in enumerate(counts)}
    rows = sorted(counts, key=lambda each: -each[1])[: max(height // row - 1, 1)]
    name_width = max((_length(name, size) for name, _ in rows), default=0)
    count_width = max((_length(str(count), size) for _, count in rows), default=0)
    width = round(margin + swatch + margin + name_width + 2 * margin + count_width + margin)
    canvas = Image.new("RGBA", (width, row * len(rows) + margin))
    draw = ImageDraw.Draw(canvas)
    draw.rounded_rectangle((0, 0, canvas.width - 1, canvas.height - 1), radius=margin, fill=(*_INK, 225))
    for index, (name, count) in enumerate(rows):
        middle = margin / 2 + row * (index + 0.5)
        draw.rectangle((margin, middle - swatch / 2, margin + swatch, middle + swatch / 2), fill=colours[name])
        draw.text((2 * margin + swatch, middle), name, _PAPER, _font(size), anchor="lm")
        draw.text((width - margin, middle), str(count), _PAPER, _font(size), anchor="rm")
    return np.asarray(canvas)


def _quietest_corner(
    shape_hw: tuple[int, ...], card_hw: tuple[int, ...], detections: Detections, *, margin: int
) -> tuple[int, int]:
    """Left and top of the corner where a card hides the fewest boxes: the lower left one if all are alike."""
    left, right = margin, max(shape_hw[1] - card_hw[1] - margin, 0)
    top, bottom = margin, max(shape_hw[0] - card_hw[0] - margin, 0)
    x1, y1, x2, y2 = detections.boxes_xyxy.T

    def hidden(corner: tuple[int, int]) -> int:
        x, y = corner
        return int(np.sum((x1 < x + card_hw[1]) & (x2 > x) & (y1 < y + card_hw[0]) & (y2 > y)))

    return min(((left, bottom), (left, top), (right, bottom), (right, top)), key=hidden)


def _is_light(background: Colour) -> bool:
    red, green, blue = background
    return 0.299 * red + 0.587 * green + 0.114 * blue > 140


@lru_cache(maxsize=32)
def _font(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own font: nothing to install, the same picture on every machine."""
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise TypeError("Pillow was built without FreeType")
    return font
