"""Prepares images for a classifier, and selects the best classes from its scores.

The preprocessing is that of torchvision's `Resize` and `CenterCrop`, as Ultralytics validates its classifiers
(`classify_transforms` in https://github.com/ultralytics/ultralytics/blob/main/ultralytics/data/augment.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image

from shared.vision.arrays import Float32Array, FloatArray, Int64Array, Pixels, SizeHW
from shared.vision.images.pixels import as_pillow_image

_MAX_RESIZED_ASPECT: Final = 16


@dataclass(frozen=True, slots=True, eq=False)
class Classification:
    """The k best classes, strongest first: `confidences` (k,) float32, `class_ids` (k,) int64."""

    confidences: Float32Array
    class_ids: Int64Array


def classifier_input(image: Pixels, size_hw: SizeHW) -> Float32Array:
    """Resize an image and cut out its centre.

    For a square input, the short side is resized to it with antialiasing, the long side in proportion (rounded
    down), and the centre is cropped. For any other input, the image is stretched to it.

    Args:
        image: (h, w, 3) uint8 RGB.
        size_hw: (H, W) of the model's input.

    Returns:
        (3, H, W) in the range 0 to 1.
    """
    height, width = image.shape[:2]
    picture = as_pillow_image(image)
    if size_hw[0] != size_hw[1]:
        picture = picture.resize(size_hw[::-1], Image.Resampling.BILINEAR)
    else:
        side, short = size_hw[0], min(width, height)
        resized_wh = int(side * width / short), int(side * height / short)
        left, top = round((resized_wh[0] - side) / 2), round((resized_wh[1] - side) / 2)
        if max(resized_wh) <= _MAX_RESIZED_ASPECT * side:
            picture = picture.resize(resized_wh, Image.Resampling.BILINEAR)
            picture = picture.crop((left, top, left + side, top + side))
        else:
            # An image of 65,000 x 1 px would be resized to 13 GB. Only its centre is resized, which differs from
            # the above by at most one level.
            x, y = width / resized_wh[0], height / resized_wh[1]
            box = left * x, top * y, min((left + side) * x, width), min((top + side) * y, height)
            picture = picture.resize((side, side), Image.Resampling.BILINEAR, box=box)
    planes = np.asarray(picture)[..., :3].transpose(2, 0, 1)
    return planes.astype(np.float32) / np.float32(255)


def top_k(scores: FloatArray, *, count: int, threshold: float) -> Classification:
    """Return the `count` best of (classes,) scores that are at least `threshold`; ties by class id."""
    confidences = scores.astype(np.float32)
    order = np.argsort(-confidences, kind="stable")[:count]
    order = order[confidences[order] >= threshold]
    return Classification(confidences[order], order.astype(np.int64))
