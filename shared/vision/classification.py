"""What a classifier is fed, and what its scores come to: the strongest classes of a whole image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image

from shared.vision.arrays import Float32Array, FloatArray, Int64Array, Pixels, SizeHW
from shared.vision.images.pixels import with_padding_byte

_LONGEST: Final = 16  # times its short side, of an image as it is resampled


@dataclass(frozen=True, slots=True, eq=False)
class Classification:
    """k classes, strongest first: `confidences` (k,) float32, `class_ids` (k,) int64."""

    confidences: Float32Array
    class_ids: Int64Array


def crop(image: Pixels, size_hw: SizeHW) -> Float32Array:
    """(h, w, 3) uint8 to (3, H, W) in 0 to 1, as models of this family are validated.

    To a square: the short side is resampled to it, antialiased, the long one in proportion (rounded down), and
    the middle is cut out. To anything else: resampled, whatever becomes of the proportions.
    """
    height, width = image.shape[:2]
    pixels = np.ascontiguousarray(with_padding_byte(image))
    picture = Image.frombuffer("RGBX", (width, height), pixels, "raw", "RGBX", 0, 1)
    if size_hw[0] != size_hw[1]:
        picture = picture.resize(size_hw[::-1], Image.Resampling.BILINEAR)
    else:
        side, short = size_hw[0], min(width, height)
        size_wh = int(side * width / short), int(side * height / short)
        left, top = round((size_wh[0] - side) / 2), round((size_wh[1] - side) / 2)
        if max(size_wh) <= _LONGEST * side:
            picture = picture.resize(size_wh, Image.Resampling.BILINEAR)
            picture = picture.crop((left, top, left + side, top + side))
        else:  # a line of 65,000 pixels would be 13 GB: only the middle is resampled, to a level the same
            x, y = width / size_wh[0], height / size_wh[1]
            box = left * x, top * y, min((left + side) * x, width), min((top + side) * y, height)
            picture = picture.resize((side, side), Image.Resampling.BILINEAR, box=box)
    planes = np.asarray(picture)[..., :3].transpose(2, 0, 1)
    return planes.astype(np.float32) / np.float32(255)


def top_k(scores: FloatArray, *, count: int, threshold: float) -> Classification:
    """The `count` best of (classes,) scores that are at least `threshold`; ties by class id."""
    confidences = scores.astype(np.float32)
    order = np.argsort(-confidences, kind="stable")[:count]
    order = order[confidences[order] >= threshold]
    return Classification(confidences[order], order.astype(np.int64))
