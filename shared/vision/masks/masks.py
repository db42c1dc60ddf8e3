"""Defines the mask of one object, and the limit on the pixels of all masks of an image.

A mask stores only a rectangle of its frame, because objects are much smaller than the image.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from shared.errors import ImageTooLarge
from shared.vision.arrays import BoolArray, Float32Array, Pixels
from shared.vision.images.pixels import rgb_view, with_padding_byte

MAX_MASK_PIXELS: Final = 2**29  # of one image's masks together; a pixel takes a byte
NOISE_ADVICE: Final = (  # ends messages about masks that no object has
    "check that the model is trained, or find fewer segments (max_detections, confidence_threshold)"
)
MASKED_OUT_GREY: Final = 114  # the grey of a letterbox's padding


@dataclass(frozen=True, slots=True, eq=False)
class Mask:
    """The pixels of one object in a rectangle of a frame (a tile, a canvas or an image).

    `pixels` is (h, w) bool. Its first pixel lies at `left`, `top` in px of the frame.
    """

    left: int
    top: int
    pixels: BoolArray

    @property
    def area(self) -> int:
        """The number of pixels of the object, 0 for an empty mask."""
        return int(np.count_nonzero(self.pixels))

    def shifted(self, left: int, top: int) -> Mask:
        """Return the mask in a larger frame, in which this frame lies at `left`, `top` (a tile in its image)."""
        return replace(self, left=self.left + left, top=self.top + top)

    def covers(self, points_xy: Float32Array) -> BoolArray:
        """Return which of n points lie on pixels of the object.

        Args:
            points_xy: (n, 2) x, y in px of the mask's frame.

        Returns:
            (n,) bool.
        """
        height, width = self.pixels.shape
        pixels_xy = np.floor(points_xy).astype(np.intp) - (self.left, self.top)
        covered: BoolArray = np.all((pixels_xy >= 0) & (pixels_xy < (width, height)), axis=1)
        covered[covered] = self.pixels[pixels_xy[covered, 1], pixels_xy[covered, 0]]
        return covered

    def cropped(self, left: int, top: int, right: int, bottom: int) -> Mask:
        """Return the part of the mask in a rectangle of its frame, as a view. It may have no pixels."""
        height, width = self.pixels.shape
        x1, x2 = (min(max(x - self.left, 0), width) for x in (left, right))
        y1, y2 = (min(max(y - self.top, 0), height) for y in (top, bottom))
        return Mask(self.left + x1, self.top + y1, self.pixels[y1:y2, x1:x2])


def ensure_mask_pixels_allowed(pixels: int) -> None:
    """Check the number of pixels in the boxes of all masks of an image before the masks are allocated.

    Raises:
        ImageTooLarge: There are more than `MAX_MASK_PIXELS`.
    """
    if pixels > MAX_MASK_PIXELS:
        raise ImageTooLarge(
            f"The boxes of the segments have {pixels} px together, more than the limit of {MAX_MASK_PIXELS} px: "
            f"find fewer segments (max_detections, confidence_threshold), use the canvas (resolution), or send a "
            f"smaller image"
        )


def mask_out(image: Pixels, mask: Mask) -> Pixels:
    """Return the mask's rectangle of the image (h, w, 3), with grey where the mask is not."""
    height, width = mask.pixels.shape
    crop = with_padding_byte(image[mask.top : mask.top + height, mask.left : mask.left + width]).copy()
    crop[~mask.pixels] = MASKED_OUT_GREY
    return rgb_view(crop)
