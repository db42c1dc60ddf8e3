"""Fits an image into a model's canvas and brings boxes back: the forward and its inverse, side by side.

Resampling is bilinear with half-pixel centres and without antialiasing, in the 11-bit fixed point that models
of this family are trained and exported with (OpenCV's INTER_LINEAR on uint8), to the last bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

PAD: Final = 114
_ONE: Final = 2048  # 1.0 in 11-bit fixed point


@dataclass(frozen=True, slots=True)
class Letterbox:
    """Where an image lies in a canvas. All sizes are (height, width) in px; left and top in canvas px."""

    image_hw: tuple[int, int]
    canvas_hw: tuple[int, int]
    inner_hw: tuple[int, int]  # the image's size in the canvas
    top: int
    left: int

    def draw(self, image: Pixels) -> Pixels:
        """Resize `image` (h, w, 3) and pad it with grey to (H, W, 3)."""
        height, width = self.inner_hw
        if self.canvas_hw == self.inner_hw:
            return resize(image, self.inner_hw)
        canvas = np.full((*self.canvas_hw, 3), PAD, np.uint8)
        inner = canvas[self.top : self.top + height, self.left : self.left + width]
        inner[...] = resize(image, self.inner_hw)
        return canvas

    def undo(self, boxes_xyxy: Floats) -> Floats:
        """(n, 4) xyxy in canvas px to xyxy in image px, clipped to the image."""
        height, width = self.image_hw
        scale_xy = np.array((self.inner_hw[1] / width, self.inner_hw[0] / height), np.float64)
        offset_xy = np.array((self.left, self.top), np.float64)
        boxes = (boxes_xyxy.reshape(-1, 2, 2) - offset_xy) / scale_xy
        boxes = np.clip(boxes, 0, np.array((width, height), np.float64))
        return boxes.reshape(-1, 4).astype(np.float32)


def letterbox(image_hw: tuple[int, int], canvas_hw: tuple[int, int]) -> Letterbox:
    """The largest fit of an image into a canvas, its proportions kept, centred, enlarged if need be."""
    height, width = image_hw
    ratio = min(canvas_hw[0] / height, canvas_hw[1] / width)
    inner_hw = max(round(height * ratio), 1), max(round(width * ratio), 1)
    top = round((canvas_hw[0] - inner_hw[0]) / 2 - 0.1)
    left = round((canvas_hw[1] - inner_hw[1]) / 2 - 0.1)
    return Letterbox(image_hw, canvas_hw, inner_hw, top, left)


def least_canvas(image_hw: tuple[int, int], canvas_hw: tuple[int, int], stride: int = 32) -> tuple[int, int]:
    """The canvas of a dynamic model: `canvas_hw`, less the padding beyond the next multiple of `stride`."""
    inner_hw = letterbox(image_hw, canvas_hw).inner_hw
    height, width = (inner + (full - inner) % stride for inner, full in zip(inner_hw, canvas_hw, strict=True))
    return height, width


def resize(image: Pixels, size_hw: tuple[int, int]) -> Pixels:
    """Resample (h, w, 3) to (*size_hw, 3), as this module's first paragraph says."""
    if image.shape[:2] == size_hw:
        return image
    y0, y1, weight_y = _taps(image.shape[0], size_hw[0])
    x0, x1, weight_x = _taps(image.shape[1], size_hw[1])
    # Weights of a pair add up to one, so a*(1-w) + b*w = a + (b-a)*w, and only w is multiplied.
    rows = _blend_columns(image, np.concatenate((y0, y1)), x0, x1, weight_x)  # (2h', w', 3) of 15 bits
    upper, lower = rows[: len(y0)], rows[len(y0) :]
    weight_y = weight_y[:, None, None]
    mixed = (upper * (_ONE - weight_y)) >> 16
    mixed += (lower * weight_y) >> 16
    mixed += 2
    mixed >>= 2
    return mixed.astype(np.uint8)


def _blend_columns(
    image: Pixels,
    rows: npt.NDArray[np.intp],
    x0: npt.NDArray[np.intp],
    x1: npt.NDArray[np.intp],
    weight: npt.NDArray[np.int32],
) -> npt.NDArray[np.int32]:
    picked = image[rows]
    left = picked[:, x0].astype(np.int32)
    mixed = picked[:, x1].astype(np.int32)
    mixed -= left
    mixed *= weight[:, None]
    mixed >>= 4
    left <<= 7  # left * 2048 >> 4
    mixed += left
    return mixed


def _taps(length: int, target: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.int32]]:
    """For each of `target` samples: the two source positions it lies between, and the second one's weight."""
    centre = ((np.arange(target) + 0.5) * (length / target) - 0.5).astype(np.float32)
    first = np.floor(centre)
    weight = np.rint((centre - first) * _ONE).astype(np.int32)
    first = first.astype(np.intp)
    weight[(first < 0) | (first >= length - 1)] = 0
    first = np.clip(first, 0, length - 1)
    return first, np.minimum(first + 1, length - 1), weight
