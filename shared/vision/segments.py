"""Detections with their masks: on the canvas they were decoded on, or at the image's own resolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from shared.vision.detections import Detections
from shared.vision.letterbox import Letterbox
from shared.vision.masks import Mask
from shared.vision.polygons import MultiPolygon, image_polygons, polygons


@dataclass(frozen=True, slots=True, eq=False)
class Segments:
    """n objects: `detections` in image px, and a mask each.

    `canvas` None: masks are in image px. Otherwise they lie on the canvas that the letterbox describes.
    """

    detections: Detections
    masks: tuple[Mask, ...]
    canvas: Letterbox | None = None

    def __len__(self) -> int:
        return len(self.masks)

    def __getitem__(self, index: npt.NDArray[np.intp]) -> Segments:
        return Segments(self.detections[index], tuple(self.masks[i] for i in index.tolist()), self.canvas)

    @property
    def areas(self) -> npt.NDArray[np.float64]:
        """(n,) in px of the image."""
        areas = np.array([mask.area for mask in self.masks], np.float64)
        if self.canvas is None:
            return areas
        (height, width), (inner_height, inner_width) = self.canvas.image_hw, self.canvas.inner_hw
        return areas * (width / inner_width * height / inner_height)

    def polygons(self) -> list[MultiPolygon]:
        """The outlines, in image px."""
        return polygons(self.masks) if self.canvas is None else image_polygons(self.masks, self.canvas)

    def in_image(self, image_hw: tuple[int, int]) -> tuple[Mask, ...]:
        """The masks in image px: those of a canvas are filled in from their outlines."""
        if self.canvas is None:
            return self.masks
        return tuple(filled(parts, image_hw) for parts in self.polygons())


def filled(parts: MultiPolygon, image_hw: tuple[int, int]) -> Mask:
    """The pixels inside outlines in image px, no larger than they reach."""
    vertices = [ring for part in parts for ring in part]
    if not vertices:
        return Mask(0, 0, np.zeros((0, 0), bool))
    corners = np.concatenate(vertices)
    left, top = np.maximum(np.floor(corners.min(axis=0)).astype(int), 0).tolist()
    right, bottom = np.minimum(np.ceil(corners.max(axis=0)).astype(int), image_hw[::-1]).tolist()
    canvas = Image.new("1", (max(right - left, 1), max(bottom - top, 1)))
    draw = ImageDraw.Draw(canvas)
    for outer, *holes in parts:
        draw.polygon(_flat(outer, left, top), fill=1)
        for hole in holes:
            draw.polygon(_flat(hole, left, top), fill=0)
    return Mask(left, top, np.array(canvas, bool))


def union(masks: Sequence[Mask]) -> Mask:
    """One mask of the pixels of all, which are in one frame."""
    masks = [mask for mask in masks if mask.pixels.size] or list(masks[:1])
    if len(masks) == 1:
        return masks[0]
    left, top = min(mask.left for mask in masks), min(mask.top for mask in masks)
    right = max(mask.left + mask.pixels.shape[1] for mask in masks)
    bottom = max(mask.top + mask.pixels.shape[0] for mask in masks)
    pixels = np.zeros((bottom - top, right - left), bool)
    for mask in masks:
        height, width = mask.pixels.shape
        pixels[mask.top - top : mask.top - top + height, mask.left - left : mask.left - left + width] |= (
            mask.pixels
        )
    return Mask(left, top, pixels)


def _flat(ring: npt.NDArray[np.float64], left: int, top: int) -> list[tuple[float, float]]:
    """Vertices for Pillow, whose pixels have their centres at whole numbers."""
    return [(x, y) for x, y in (ring - (left + 0.5, top + 0.5)).tolist()]
