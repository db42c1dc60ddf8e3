"""Draws annotations on a copy of the image: tiles, masks, boxes, names where they fit, and the legend.

Everything is written into the array itself. Only letters are drawn by Pillow, on small patches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from shared.runtime import deadline
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
from shared.vision.drawing.legend import LegendRow, emptiest_corner, legend, overlay
from shared.vision.images.pixels import as_uint32, rgb_view, with_padding_byte
from shared.vision.masks.masks import Mask

# With more boxes or segments than that, labels would hide the objects. Colours and the legend's counts remain.
MAX_LABELLED: Final = 40
# A segment's label may be wider than the segment, because beds are long and narrow.
MAX_LABEL_TO_SEGMENT_WIDTH: Final = 1.5
_BOXES_PER_CHECK: Final = 64  # of the deadline


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Annotations:
    """n boxes or masks with the colours and names to draw, strongest first.

    `boxes_xyxy` (n, 4) and `masks` are in px of the picture. `names` has for each object its possible labels, of
    which the first that fits is drawn. The masks are empty if the objects are drawn as boxes.
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
    """Draw annotations on a copy of the image, weaker ones below stronger ones.

    Args:
        image: (h, w, 3), not changed.
        objects: Drawn as boxes.
        segments: Drawn as masks, below the boxes.
        tiles: (n, 4) xyxy px, drawn as a grid.
        rows: The legend's rows.

    Returns:
        (h, w, 3).

    Raises:
        DeadlineExceeded: The event's deadline passed.
    """
    picture = rgb_view(with_padding_byte(image).copy())
    shape_hw = image.shape[0], image.shape[1]
    unit = _unit(shape_hw)
    pixels = as_uint32(picture)
    if tiles is not None:
        draw_tile_grid(pixels, tiles, max(1, round(0.8 * unit)))
    opacity_shift = 3 if len(objects) else 2  # objects in a segment need a lighter colour over them
    strokes = [_stroke(3 * unit, mask.pixels.shape) for mask in segments.masks]
    fill_masks(pixels, segments.masks[::-1], segments.colours[::-1], strokes[::-1], opacity_shift=opacity_shift)
    boxes = np.rint(objects.boxes_xyxy).astype(int).tolist()
    for index, (box, colour) in enumerate(reversed(list(zip(boxes, objects.colours, strict=True)))):
        if index % _BOXES_PER_CHECK == 0:
            deadline.check()
        draw_box(pixels, box, colour, _stroke(2.6 * unit, (box[3] - box[1], box[2] - box[0])))

    occupied = OccupiedAreas(shape_hw, 1 + len(segments) + len(objects))
    patch = legend(rows, (shape_hw[0] * 3 // 4, shape_hw[1] * 3 // 4), unit)
    if patch is not None:
        left, top = emptiest_corner(
            shape_hw, patch.shape, objects.boxes_xyxy, segments.masks, margin=round(8 * unit)
        )
        occupied.add(left, top, patch.shape)
        overlay(picture, patch, left, top)
    if len(segments) <= MAX_LABELLED:
        _label_segments(pixels, segments, objects, occupied, unit)
    if len(objects) <= MAX_LABELLED:
        _label_objects(pixels, objects, occupied, unit)
    return picture


def _unit(shape_hw: SizeHW) -> float:
    """Return the scale of strokes and letters: 1 for a picture of 1000 px."""
    return max(*shape_hw, 480) / 1000


def _stroke(preferred: float, shape_hw: tuple[int, ...]) -> int:
    """Return the width of an object's outline, which is thinner for a small object."""
    return max(1, round(min(preferred, min(shape_hw) / 8)))


def _label_segments(
    picture: PackedPixels, segments: Annotations, objects: Annotations, occupied: OccupiedAreas, unit: float
) -> None:
    """Label the segments, strongest first, each where its label hides little of it and of the objects."""
    size = max(12, round(18 * unit))
    for mask, colour, names in zip(segments.masks, segments.colours, segments.names, strict=True):
        height, width = mask.pixels.shape
        max_width = width * MAX_LABEL_TO_SEGMENT_WIDTH
        text = next((name for name in names if text_width(name, size) <= max_width), None)
        if text is None or height < size:
            continue
        patch = label_patch(text, colour, size)
        position = place_on_mask(occupied, mask, patch.shape, objects.boxes_xyxy)
        if position:
            paste(picture, patch, *position)


def _label_objects(picture: PackedPixels, objects: Annotations, occupied: OccupiedAreas, unit: float) -> None:
    """Label the boxes, strongest first, where a name is no wider than its box and covers no other text."""
    size = max(11, round(15 * unit))
    for box, colour, names in zip(objects.boxes_xyxy.tolist(), objects.colours, objects.names, strict=True):
        text = next((name for name in names if text_width(name, size) <= box[2] - box[0]), None)
        if text is None:
            continue
        patch = label_patch(text, colour, size)
        position = place_above_box(occupied, box, patch.shape)
        if position:
            paste(picture, patch, *position)
