"""Detections with their masks: on the canvas they were decoded on, or at the image's own resolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from shared.vision.arrays import Float64Array, IndexArray, SizeHW
from shared.vision.boxes.detections import Detections
from shared.vision.images.letterbox import Letterbox
from shared.vision.masks.masks import Mask, ensure_mask_pixels_allowed
from shared.vision.masks.polygons import MultiPolygon, image_polygons, polygons


@dataclass(frozen=True, eq=False)
class Segments:
    """n objects: `detections` in image px, and a mask each.

    `canvas` None: masks are in image px. Otherwise they lie on the canvas that the letterbox describes.
    """

    detections: Detections
    masks: tuple[Mask, ...]
    canvas: Letterbox | None = None

    def __len__(self) -> int:
        return len(self.masks)

    def __getitem__(self, index: IndexArray) -> Segments:
        return Segments(self.detections[index], tuple(self.masks[i] for i in index.tolist()), self.canvas)

    @property
    def areas(self) -> Float64Array:
        """(n,) in px of the image, as `polygons`: without what lies in the canvas's padding."""
        if self.canvas is None:
            return np.array([mask.area for mask in self.masks], np.float64)
        (height, width), (inner_height, inner_width) = self.canvas.image_hw, self.canvas.resized_hw
        left, top = self.canvas.left, self.canvas.top
        inside = [mask.cropped(left, top, left + inner_width, top + inner_height) for mask in self.masks]
        areas = np.array([mask.area for mask in inside], np.float64)
        return areas * (width / inner_width * height / inner_height)

    def polygons(self) -> list[MultiPolygon]:
        """The outlines, in image px. Found once: the picture, the result and the steps all ask for them."""
        return self._outlines

    def in_image(self, image_hw: SizeHW) -> tuple[Mask, ...]:
        """The masks in image px: those of a canvas are filled in from their outlines, once."""
        if self.canvas is None:
            return self.masks
        if image_hw != self.canvas.image_hw:
            raise ValueError(f"Segments of an image of {self.canvas.image_hw}, not of {image_hw}")
        return self._filled

    def downscaled(self, times: int, size_hw: SizeHW) -> tuple[Mask, ...]:
        """The masks in a picture of the image, of that size, in which `times` px along each axis are one."""
        outlines = [[[ring / times for ring in part] for part in parts] for parts in self._outlines]
        return filled(outlines, size_hw)

    @cached_property
    def _outlines(self) -> list[MultiPolygon]:
        return polygons(self.masks) if self.canvas is None else image_polygons(self.masks, self.canvas)

    @cached_property
    def _filled(self) -> tuple[Mask, ...]:
        return filled(self._outlines, self.canvas.image_hw) if self.canvas else self.masks


def filled(outlines: Sequence[MultiPolygon], image_hw: SizeHW) -> tuple[Mask, ...]:
    """The pixels whose centres are inside each mask's outlines in image px, in arrays no larger than these reach.

    Along a row of pixels each edge that crosses it changes sides: what lies after an odd number is inside.

    Raises: ImageTooLarge: as `shared.vision.masks.masks`.
    """
    rings = [ring for parts in outlines for part in parts for ring in part]
    owners = [index for index, parts in enumerate(outlines) for part in parts for _ in part]
    if not rings:
        return tuple(Mask(0, 0, np.zeros((0, 0), bool)) for _ in outlines)
    xy = np.concatenate(rings)
    lengths = np.array([len(ring) for ring in rings])
    starts = np.cumsum(lengths) - lengths
    some, begins = np.unique(owners, return_index=True)  # masks that have outlines, and their first rings
    lefts_tops, sizes_wh = np.zeros((2, len(outlines), 2), np.intp)
    lefts_tops[some] = np.maximum(np.floor(np.minimum.reduceat(xy, starts[begins])), 0)
    sizes_wh[some] = np.minimum(np.ceil(np.maximum.reduceat(xy, starts[begins])), image_hw[::-1])
    sizes_wh = np.maximum(sizes_wh - lefts_tops, 0)
    ends = np.cumsum(sizes_wh.prod(axis=1))  # of the masks' pixels, one mask after the other
    ensure_mask_pixels_allowed(int(ends[-1]))

    leaving, arriving = np.ones((2, len(xy)), bool)
    leaving[starts + lengths - 1] = arriving[starts] = False
    owner = np.array(owners).repeat(lengths - 1)
    x1, y1 = (xy[leaving] - lefts_tops[owner]).T
    x2, y2 = (xy[arriving] - lefts_tops[owner]).T
    first, last = np.ceil(np.sort((y1, y2), axis=0) - 0.5).clip(0, sizes_wh[owner, 1]).astype(np.intp)
    counts = last - first  # of the rows that an edge crosses
    edge = np.arange(len(counts)).repeat(counts)
    row = np.arange(len(edge)) - (np.cumsum(counts) - counts - first)[edge]
    slope = (x2 - x1)[edge] / (y2 - y1)[edge]
    width = sizes_wh[owner, 0][edge]
    column = np.ceil(x1[edge] + (row + 0.5 - y1[edge]) * slope - 0.5).clip(0, width).astype(np.intp)
    # What ends with a row ends where the next one begins.
    turns = np.sort((ends - sizes_wh.prod(axis=1))[owner][edge] + row * width + column)
    runs = np.diff(turns, prepend=0, append=ends[-1])
    pixels = (np.arange(len(runs)) % 2 == 1).repeat(runs)
    return tuple(
        Mask(left, top, pixels[end - w * h : end].reshape(h, w))
        for (left, top), (w, h), end in zip(lefts_tops.tolist(), sizes_wh.tolist(), ends.tolist(), strict=True)
    )
