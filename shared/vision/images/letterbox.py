"""Fits an image into a model's canvas and brings boxes back: the forward and its inverse, side by side.

Images are read in two ways. `exact`: bilinear with half-pixel centres and without antialiasing, in the 11-bit
fixed point that models of this family are trained and exported with (OpenCV's INTER_LINEAR on uint8), to the last
bit. Of an image that is shrunk much, it sees single pixels far apart. `fast`: whole pixels are averaged first,
until the rest is less than a halving; the decoder of a JPEG does so on the way (`shared.vision.images.codec`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from shared.vision.arrays import Float32Array, Pixels, SizeHW
from shared.vision.images.resample import block_mean, resize

Resampling = Literal["exact", "fast"]

_GREY: Final = np.float32(114 / 255)


@dataclass(frozen=True, slots=True)
class Letterbox:
    """Where an image lies in a canvas. All sizes are (height, width) in px; left and top in canvas px."""

    image_hw: SizeHW
    canvas_hw: SizeHW
    resized_hw: SizeHW  # the image's size in the canvas
    top: int
    left: int

    def render_into(self, image: Pixels, out: Float32Array, resampling: Resampling = "exact") -> None:
        """Resize `image` (h, w, 3) into `out` (3, H, W), in 0 to 1, and pad it with grey.

        The image may have been shrunk by a whole number before (see `downscale_factor`).
        """
        (height, width), (bottom, right) = self.resized_hw, self.canvas_hw
        out[:, : self.top] = out[:, self.top + height : bottom] = _GREY
        out[:, :, : self.left] = out[:, :, self.left + width : right] = _GREY
        times = downscale_factor(self.image_hw, image)
        extent_hw = self.image_hw[0] / times, self.image_hw[1] / times
        if resampling == "fast":
            y, x = (max(int(length / inner), 1) for length, inner in zip(extent_hw, self.resized_hw, strict=True))
            image, extent_hw = block_mean(image, (y, x)), (extent_hw[0] / y, extent_hw[1] / x)
        resize(image, out[:, self.top : self.top + height, self.left : self.left + width], extent_hw)

    def to_image_coords(self, boxes_xyxy: Float32Array) -> Float32Array:
        """(n, 4) xyxy in canvas px to xyxy in image px, clipped to the image."""
        height, width = self.image_hw
        scale_xy = np.array((self.resized_hw[1] / width, self.resized_hw[0] / height), np.float64)
        offset_xy = np.array((self.left, self.top), np.float64)
        boxes = (boxes_xyxy.reshape(-1, 2, 2) - offset_xy) / scale_xy
        boxes = np.clip(boxes, 0, np.array((width, height), np.float64))
        return boxes.reshape(-1, 4).astype(np.float32)


def letterbox(image_hw: SizeHW, canvas_hw: SizeHW) -> Letterbox:
    """The largest fit of an image into a canvas, its proportions kept, centred, enlarged if need be."""
    height, width = image_hw
    ratio = min(canvas_hw[0] / height, canvas_hw[1] / width)
    inner_hw = max(round(height * ratio), 1), max(round(width * ratio), 1)
    top = round((canvas_hw[0] - inner_hw[0]) / 2 - 0.1)
    left = round((canvas_hw[1] - inner_hw[1]) / 2 - 0.1)
    return Letterbox(image_hw, canvas_hw, inner_hw, top, left)


def stretch(image_hw: SizeHW, canvas_hw: SizeHW) -> Letterbox:
    """The whole canvas, whatever becomes of the proportions: how RT-DETR is fed."""
    return Letterbox(image_hw, canvas_hw, canvas_hw, 0, 0)


def minimal_canvas(image_hw: SizeHW, canvas_hw: SizeHW, stride: int = 32) -> SizeHW:
    """The canvas of a dynamic model: `canvas_hw`, less the padding beyond the next multiple of `stride`."""
    inner_hw = letterbox(image_hw, canvas_hw).resized_hw
    height, width = (inner + (full - inner) % stride for inner, full in zip(inner_hw, canvas_hw, strict=True))
    return height, width


def downscale_factor(image_hw: SizeHW, image: Pixels) -> int:
    """How many px of an image, along each axis, are one of `image` (h, w, 3): 1, 2, 4 or 8."""
    return 1 << round(math.log2(max(image_hw) / max(image.shape[:2])))
