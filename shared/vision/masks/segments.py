"""Defines segments: detections with a mask each, on the canvas or at the image's own resolution.

Masks that were decoded on the canvas get to the image in two steps: from the canvas to outlines, and from outlines
to filled pixels. Enlarging the canvas's pixels directly would be shorter. But the result has the outlines
(`polygons`) and, if asked for, the pixels (`run_lengths`), the picture shows the pixels, and steps test points
against them. If the pixels were not made from the outlines, both would differ along every border by up to a canvas
pixel, which is several pixels of a large image: an object could be inside a segment by its pixels, and outside of
it by its outline. Filled outlines also have straight borders instead of steps of a canvas pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from shared.vision.arrays import Float64Array, IndexArray, SizeHW
from shared.vision.boxes.detections import Detections
from shared.vision.images.letterbox import Letterbox
from shared.vision.masks.contours import MultiPolygon
from shared.vision.masks.masks import Mask
from shared.vision.masks.polygon_fill import fill_polygons
from shared.vision.masks.polygons import image_polygons, polygons


@dataclass(frozen=True, eq=False)
class Segments:
    """n objects with `detections` in image px and a mask each.

    `masks` are in px of the canvas that the letterbox `canvas` describes, or in image px if it is None.
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
        """The areas (n,) in image px. As in `polygons`, what lies in the canvas's padding is left out."""
        if self.canvas is None:
            return np.array([mask.area for mask in self.masks], np.float64)
        (height, width), (inner_height, inner_width) = self.canvas.image_hw, self.canvas.resized_hw
        left, top = self.canvas.left, self.canvas.top
        inside = [mask.cropped(left, top, left + inner_width, top + inner_height) for mask in self.masks]
        areas = np.array([mask.area for mask in inside], np.float64)
        return areas * (width / inner_width * height / inner_height)

    def polygons(self) -> list[MultiPolygon]:
        """Return the outlines in image px. They are computed once and kept."""
        return self._outlines

    def in_image(self, image_hw: SizeHW) -> tuple[Mask, ...]:
        """Return the masks in image px. Those of a canvas are filled from their outlines once, and kept.

        Raises:
            ImageTooLarge: The masks have more than `MAX_MASK_PIXELS` together.
            ValueError: `image_hw` is not the size of the image that the canvas was made from.
        """
        if self.canvas is None:
            return self.masks
        if image_hw != self.canvas.image_hw:
            raise ValueError(f"image_hw={image_hw} is not the size of the segments' image, {self.canvas.image_hw}")
        return self._filled

    def downscaled(self, factor: int, size_hw: SizeHW) -> tuple[Mask, ...]:
        """Return the masks in px of a picture of size `size_hw`, which is the image `factor` times smaller.

        Raises:
            ImageTooLarge: The masks have more than `MAX_MASK_PIXELS` together.
        """
        outlines = [[[ring / factor for ring in part] for part in parts] for parts in self._outlines]
        return fill_polygons(outlines, size_hw)

    @cached_property
    def _outlines(self) -> list[MultiPolygon]:
        return polygons(self.masks) if self.canvas is None else image_polygons(self.masks, self.canvas)

    @cached_property
    def _filled(self) -> tuple[Mask, ...]:
        return fill_polygons(self._outlines, self.canvas.image_hw) if self.canvas else self.masks
