"""Fits images into a model's canvas (letterboxing), and maps boxes from the canvas back to the image.

There are two kinds of resampling:

- `exact`: OpenCV's bilinear INTER_LINEAR on uint8 without antialiasing, to the last bit: models of the YOLO family
  are trained and validated with it. If the image is much larger than the canvas, it samples pixels far apart and
  ignores those between them.
- `fast`: a block mean of whole pixels first, until the remaining scale is less than a halving, then as `exact`.
  The decoder of a JPEG can take over a part of the block mean (`shared.vision.images.codec`).

The geometry is that of Ultralytics' `LetterBox` and `scale_boxes`, with their rounding:
https://github.com/ultralytics/ultralytics/blob/main/ultralytics/data/augment.py
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from shared.vision.arrays import Float32Array, Pixels, SizeHW
from shared.vision.images.resample import block_mean, resize

Resampling = Literal["exact", "fast"]

_PADDING_GREY: Final = np.float32(114 / 255)


@dataclass(frozen=True, slots=True)
class Letterbox:
    """The position of an image in a canvas.

    All sizes are (height, width) in px. `resized_hw`, `top` and `left` are the image's rectangle in canvas px.
    """

    image_hw: SizeHW
    canvas_hw: SizeHW
    resized_hw: SizeHW
    top: int
    left: int

    def render_into(self, image: Pixels, out: Float32Array, resampling: Resampling = "exact") -> None:
        """Resize an image into the planes of a model's input, and fill the padding with grey.

        Args:
            image: (h, w, 3) uint8 RGB, at `image_hw` or decoded smaller by a `downscale_factor`.
            out: (3, H, W) of the canvas, written in the range 0 to 1.
            resampling: See the module.
        """
        (height, width), (bottom, right) = self.resized_hw, self.canvas_hw
        out[:, : self.top] = out[:, self.top + height : bottom] = _PADDING_GREY
        out[:, :, : self.left] = out[:, :, self.left + width : right] = _PADDING_GREY
        factor = downscale_factor(self.image_hw, image)
        extent_hw = self.image_hw[0] / factor, self.image_hw[1] / factor
        if resampling == "fast":
            y, x = (max(int(length / inner), 1) for length, inner in zip(extent_hw, self.resized_hw, strict=True))
            image, extent_hw = block_mean(image, (y, x)), (extent_hw[0] / y, extent_hw[1] / x)
        resize(image, out[:, self.top : self.top + height, self.left : self.left + width], extent_hw)

    def to_image_coords(self, boxes_xyxy: Float32Array) -> Float32Array:
        """Map (n, 4) xyxy boxes from canvas px to image px, clipped to the image."""
        height, width = self.image_hw
        scale_xy = np.array((self.resized_hw[1] / width, self.resized_hw[0] / height), np.float64)
        offset_xy = np.array((self.left, self.top), np.float64)
        boxes = (boxes_xyxy.reshape(-1, 2, 2) - offset_xy) / scale_xy
        boxes = np.clip(boxes, 0, np.array((width, height), np.float64))
        return boxes.reshape(-1, 4).astype(np.float32)


def letterbox(image_hw: SizeHW, canvas_hw: SizeHW) -> Letterbox:
    """Fit an image into a canvas as large as possible, centred, with its proportions kept.

    A small image is enlarged. An odd pixel of padding goes below the image and to its right.
    """
    height, width = image_hw
    ratio = min(canvas_hw[0] / height, canvas_hw[1] / width)
    resized_hw = max(round(height * ratio), 1), max(round(width * ratio), 1)
    top = round((canvas_hw[0] - resized_hw[0]) / 2 - 0.1)
    left = round((canvas_hw[1] - resized_hw[1]) / 2 - 0.1)
    return Letterbox(image_hw, canvas_hw, resized_hw, top, left)


def stretch(image_hw: SizeHW, canvas_hw: SizeHW) -> Letterbox:
    """Fill the whole canvas with the image, without keeping its proportions, as RT-DETR expects."""
    return Letterbox(image_hw, canvas_hw, canvas_hw, 0, 0)


def minimal_canvas(image_hw: SizeHW, canvas_hw: SizeHW, stride: int = 32) -> SizeHW:
    """Return the canvas of a dynamic model: the resized image, padded to multiples of `stride` only.

    It is `canvas_hw` without the padding that a fixed canvas would need. Ultralytics calls this `auto=True`.
    """
    resized_hw = letterbox(image_hw, canvas_hw).resized_hw
    height, width = (side + (full - side) % stride for side, full in zip(resized_hw, canvas_hw, strict=True))
    return height, width


def downscale_factor(image_hw: SizeHW, image: Pixels) -> int:
    """Return how many times smaller `image` (h, w, 3) was decoded than its file's `image_hw`: 1, 2, 4 or 8."""
    return 1 << round(math.log2(max(image_hw) / max(image.shape[:2])))
