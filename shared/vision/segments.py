"""Detections with their masks: on the canvas they were decoded on, or at the image's own resolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

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
        """(n,) in px of the image, as `polygons`: without what lies in the canvas's padding."""
        if self.canvas is None:
            return np.array([mask.area for mask in self.masks], np.float64)
        (height, width), (inner_height, inner_width) = self.canvas.image_hw, self.canvas.inner_hw
        left, top = self.canvas.left, self.canvas.top
        inside = [mask.cropped(left, top, left + inner_width, top + inner_height) for mask in self.masks]
        areas = np.array([mask.area for mask in inside], np.float64)
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
    """The pixels whose centres are inside outlines in image px, in an array no larger than these reach.

    Along a row of pixels each edge that crosses it changes sides: what lies after an odd number is inside.
    """
    rings = [ring for part in parts for ring in part]
    if not rings:
        return Mask(0, 0, np.zeros((0, 0), bool))
    corners = np.concatenate(rings)
    left, top = np.maximum(np.floor(corners.min(axis=0)), 0).astype(int).tolist()
    right, bottom = np.minimum(np.ceil(corners.max(axis=0)), image_hw[::-1]).astype(int).tolist()
    height, width = max(bottom - top, 0), max(right - left, 0)

    x1, y1 = np.concatenate([ring[:-1] for ring in rings]).T - ((left,), (top,))
    x2, y2 = np.concatenate([ring[1:] for ring in rings]).T - ((left,), (top,))
    first, last = np.ceil(np.sort((y1, y2), axis=0) - 0.5).clip(0, height).astype(np.intp)
    counts = last - first  # of the rows that an edge crosses
    edge = np.arange(len(counts)).repeat(counts)
    row = np.arange(len(edge)) - (np.cumsum(counts) - counts - first)[edge]
    slope = (x2 - x1)[edge] / (y2 - y1)[edge]
    column = np.ceil(x1[edge] + (row + 0.5 - y1[edge]) * slope - 0.5).clip(0, width).astype(np.intp)
    turns = np.sort(row * width + column)  # what ends with a row ends where the next one begins
    runs = np.diff(turns, prepend=0, append=height * width)
    return Mask(left, top, (np.arange(len(runs)) % 2 == 1).repeat(runs).reshape(height, width))


def union(masks: Sequence[Mask]) -> Mask:
    """One mask of the pixels of all, which are in one frame."""
    masks = [mask for mask in masks if mask.pixels.size] or [Mask(0, 0, np.zeros((0, 0), bool))]
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
