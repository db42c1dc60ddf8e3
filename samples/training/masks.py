"""Masks of areas: from polygons, and from what a segmenter says; numpy and Pillow only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from samples.scenes.scene import Floats, Pixels
    from samples.training.detections import Found

MASK_STRIDE = 4
SMALLEST_PX = 4.0  # areas of which less can be seen are left out
FINER = 4  # masks are drawn that much larger and averaged


def drawn(points: Floats, side_px: int) -> Pixels:
    """(side / 4, side / 4) how much of each pixel a polygon covers, 0 to 255."""
    side = side_px // MASK_STRIDE
    picture = Image.new("L", (side * FINER, side * FINER))
    scaled = points * (FINER / MASK_STRIDE) - 0.5
    ImageDraw.Draw(picture).polygon([(float(x), float(y)) for x, y in scaled], 255)
    return np.asarray(picture.resize((side, side), Image.Resampling.BOX))


def filled(points: Floats, side_px: int) -> np.ndarray:
    """(side, side) bool: the pixels whose middle lies in a polygon."""
    return drawn(points * MASK_STRIDE, side_px * MASK_STRIDE) > 127


def opened(found: Found, prototypes: Floats, side_px: int) -> np.ndarray:
    """(n, side, side) bool masks of detections, from (32, side / 4, side / 4) prototypes."""
    masks = np.zeros((len(found.boxes), side_px, side_px), bool)
    at = np.arange(side_px)
    for i, (x1, y1, x2, y2) in enumerate(found.boxes):
        logits = np.tensordot(found.terms[i], prototypes, 1)
        large = np.asarray(Image.fromarray(logits).resize((side_px, side_px), Image.Resampling.BILINEAR))
        inside = ((at >= y1) & (at < y2))[:, None] & ((at >= x1) & (at < x2))[None, :]
        masks[i] = (large > 0) & inside
    return masks


def overlaps(one: np.ndarray, other: np.ndarray) -> Floats:
    """(n, m) intersection over union of (n, h, w) and (m, h, w) bool masks."""
    pixels = one.shape[1] * one.shape[2]
    a, b = (masks.reshape(len(masks), pixels).astype(np.float32) for masks in (one, other))
    common = a @ b.T
    return common / np.maximum(a.sum(1)[:, None] + b.sum(1)[None, :] - common, 1.0)
