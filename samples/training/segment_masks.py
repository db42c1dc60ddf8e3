"""Make masks from polygons and from the outputs of a segmenter, with NumPy and Pillow alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from samples.scenes.scene import Floats, Pixels
    from samples.training.raw_output import CanvasDetections

MASK_STRIDE = 4
MIN_SIDE_PX = 4.0  # smaller segments are ignored
OVERSAMPLING = 4  # factor by which masks are drawn larger, and then averaged


def polygon_coverage(points: Floats, side_px: int) -> Pixels:
    """Return how much of each pixel a polygon covers, (side / 4, side / 4) from 0 to 255."""
    side = side_px // MASK_STRIDE
    picture = Image.new("L", (side * OVERSAMPLING, side * OVERSAMPLING))
    scaled = points * (OVERSAMPLING / MASK_STRIDE) - 0.5
    ImageDraw.Draw(picture).polygon([(float(x), float(y)) for x, y in scaled], 255)
    return np.asarray(picture.resize((side, side), Image.Resampling.BOX))


def polygon_mask(points: Floats, side_px: int) -> np.ndarray:
    """Return the mask (side, side) of pixels that a polygon covers by more than half."""
    return polygon_coverage(points * MASK_STRIDE, side_px * MASK_STRIDE) > 127


def decode_masks(detections: CanvasDetections, prototypes: Floats, side_px: int) -> np.ndarray:
    """Return the masks (n, side, side) of detections from prototypes (32, side / 4, side / 4)."""
    masks = np.zeros((len(detections.boxes), side_px, side_px), bool)
    at = np.arange(side_px)
    for i, (x1, y1, x2, y2) in enumerate(detections.boxes):
        logits = np.tensordot(detections.terms[i], prototypes, 1)
        large = np.asarray(Image.fromarray(logits).resize((side_px, side_px), Image.Resampling.BILINEAR))
        inside = ((at >= y1) & (at < y2))[:, None] & ((at >= x1) & (at < x2))[None, :]
        masks[i] = (large > 0) & inside
    return masks


def overlaps(one: np.ndarray, other: np.ndarray) -> Floats:
    """Return the intersection over union (n, m) of bool masks (n, h, w) and (m, h, w)."""
    pixels = one.shape[1] * one.shape[2]
    a, b = (masks.reshape(len(masks), pixels).astype(np.float32) for masks in (one, other))
    common = a @ b.T
    ious: Floats = common / np.maximum(a.sum(1)[:, None] + b.sum(1)[None, :] - common, 1.0)
    return ious
