"""Draws what was found on a copy of the image: tiles, segments, boxes, names where there is room, and a card.

Everything is written into the array itself; letters are drawn by Pillow on small patches only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from shared.vision.arrays import Float32Array, Int64Array, PackedPixels, Pixels, SizeHW
from shared.vision.drawing.colours import Colour
from shared.vision.drawing.fills import draw_box, draw_tile_grid, fill_masks
from shared.vision.drawing.labels import (
    OccupiedAreas,
    label_patch,
    paste,
    place_above_box,
    place_on_mask,
    text_width,
)
from shared.vision.drawing.legend import LegendRow, least_covered_corner, legend, overlay
from shared.vision.images.pixels import as_uint32, rgb_view, with_padding_byte
from shared.vision.masks.masks import Mask

_CROWD: Final = 40  # boxes; of more than that, tags would hide what they name, and colours and counts must do
_OVERHANG: Final = 1.5  # a segment's tag, as wide as that of the segment: beds are long and narrow


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Annotations:
    """n objects and how they are shown: as boxes, or as masks where there are some.

    `boxes_xyxy` (n, 4) and `masks` in px of the image; `names`: what a tag may say of each, the longest first.
    """

    boxes_xyxy: Float32Array
    colours: Sequence[Colour]
    names: Sequence[Sequence[str]]
    masks: Sequence[Mask] = ()

    @classmethod
    def empty(cls) -> Annotations:
        return cls(boxes_xyxy=np.empty((0, 4), np.float32), colours=(), names=())

    def __len__(self) -> int:
        return len(self.boxes_xyxy)


def annotate(
    image: Pixels,
    *,
    objects: Annotations,
    segments: Annotations,
    tiles: Int64Array | None = None,
    rows: Sequence[LegendRow] = (),
) -> Pixels:
    """A picture for a person, of the size of `image` (h, w, 3), which stays as it is.

    Both kinds come strongest first, and what is stronger is drawn over what is weaker. `tiles` (n, 4) xyxy px.
    """
    picture = rgb_view(with_padding_byte(image).copy())
    shape_hw = image.shape[0], image.shape[1]
    unit = _unit(shape_hw)
    pixels = as_uint32(picture)
    if tiles is not None:
        draw_tile_grid(pixels, tiles, max(1, round(0.8 * unit)))
    share = 3 if len(objects) else 2  # lighter where there is something to be seen in them
    strokes = [_stroke(3 * unit, mask.pixels.shape) for mask in segments.masks]
    fill_masks(pixels, segments.masks[::-1], segments.colours[::-1], strokes[::-1], share=share)
    for box, ink in reversed(
        list(zip(np.rint(objects.boxes_xyxy).astype(int).tolist(), objects.colours, strict=True))
    ):
        draw_box(pixels, box, ink, _stroke(2.6 * unit, (box[3] - box[1], box[2] - box[0])))

    room = OccupiedAreas(shape_hw, 1 + len(segments) + len(objects))
    counted = legend(rows, (shape_hw[0] * 3 // 4, shape_hw[1] * 3 // 4), unit)
    if counted is not None:
        left, top = least_covered_corner(
            shape_hw, counted.shape, objects.boxes_xyxy, segments.masks, margin=round(8 * unit)
        )
        room.take(left, top, counted.shape)
        overlay(picture, counted, left, top)
    if len(segments) <= _CROWD:
        _name_segments(pixels, segments, objects, room, unit)
    if len(objects) <= _CROWD:
        _name_objects(pixels, objects, room, unit)
    return picture


def _unit(shape_hw: SizeHW) -> float:
    """What one pixel is on a picture of 1000 px: strokes and letters grow with the picture."""
    return max(*shape_hw, 480) / 1000


def _stroke(wanted: float, shape_hw: tuple[int, ...]) -> int:
    """Thinner where the thing itself is small."""
    return max(1, round(min(wanted, min(shape_hw) / 8)))


def _name_segments(
    picture: PackedPixels, segments: Annotations, objects: Annotations, room: OccupiedAreas, unit: float
) -> None:
    """Name the segments, strongest first, each inside itself where that hides the fewest objects."""
    size = max(12, round(18 * unit))
    for mask, ink, names in zip(segments.masks, segments.colours, segments.names, strict=True):
        height, width = mask.pixels.shape
        text = next((each for each in names if text_width(each, size) <= width * _OVERHANG), None)
        if text is None or height < size:
            continue
        patch = label_patch(text, ink, size)
        place = place_on_mask(room, mask, patch.shape, objects.boxes_xyxy)
        if place:
            paste(picture, patch, *place)


def _name_objects(picture: PackedPixels, objects: Annotations, room: OccupiedAreas, unit: float) -> None:
    """Name the boxes, strongest first, where a name fits its box and covers no other name."""
    size = max(11, round(15 * unit))
    for box, ink, names in zip(objects.boxes_xyxy.tolist(), objects.colours, objects.names, strict=True):
        text = next((each for each in names if text_width(each, size) <= box[2] - box[0]), None)
        if text is None:
            continue
        patch = label_patch(text, ink, size)
        place = place_above_box(room, box, patch.shape)
        if place:
            paste(picture, patch, *place)
