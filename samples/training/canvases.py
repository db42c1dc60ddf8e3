"""Letterbox random scenes of every size onto the network's canvas."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from samples.scenes import Scene, render

if TYPE_CHECKING:
    from samples.scenes.scene import Floats, Pixels

CANVAS_PX = 640
PAD = 114
CLOSE_UP_PX = 96
SEGMENT_CANVAS_PX = 320  # beds and trays are large enough for half the resolution

# (share of scenes, range of the longer side in px): tiles, phone pictures, photographs
_SIZES = ((0.30, (448, 640)), (0.42, (640, 1280)), (0.18, (1280, 2000)), (0.10, (2000, 4000)))
_SHAPES = ((4, 3), (3, 4), (1, 1), (16, 9), (9, 16), (3, 2))
_PLANTS_PX = (8.5, 84.0)  # on the canvas


@dataclass(frozen=True)
class LetterboxTransform:
    """The transform of a letterbox: image px times scale plus offset gives canvas px."""

    scale_xy: tuple[float, float]
    offset_xy: tuple[int, int]

    def to_canvas(self, points: Floats) -> Floats:
        """Transform points (..., 2k), as x, y, x, y, …, from image px to canvas px."""
        points_per_row = points.shape[-1] // 2
        scale = np.tile(np.array(self.scale_xy, np.float32), points_per_row)
        offset = np.tile(np.array(self.offset_xy, np.float32), points_per_row)
        return (points * scale + offset).astype(np.float32)

    def to_image(self, points: Floats) -> Floats:
        """Transform points from canvas px to image px, the inverse of `to_canvas`."""
        points_per_row = points.shape[-1] // 2
        scale = np.tile(np.array(self.scale_xy, np.float32), points_per_row)
        offset = np.tile(np.array(self.offset_xy, np.float32), points_per_row)
        return ((points - offset) / scale).astype(np.float32)


def letterbox_image(image: Pixels, side_px: int = CANVAS_PX) -> tuple[Pixels, LetterboxTransform]:
    """Centre the image on a grey canvas (side, side, 3), with bilinear resampling and no antialiasing."""
    height, width = image.shape[:2]
    ratio = min(side_px / height, side_px / width)
    new_w, new_h = max(round(width * ratio), 1), max(round(height * ratio), 1)
    scale_xy = (new_w / width, new_h / height)
    picture = Image.fromarray(image)
    if (new_w, new_h) != (width, height):
        matrix = (1 / scale_xy[0], 0, 0, 0, 1 / scale_xy[1], 0)
        resampling = Image.Resampling.BILINEAR
        picture = picture.transform((new_w, new_h), Image.Transform.AFFINE, matrix, resampling)
    left, top = round((side_px - new_w) / 2 - 0.1), round((side_px - new_h) / 2 - 0.1)
    canvas = np.full((side_px, side_px, 3), PAD, np.uint8)
    canvas[top : top + new_h, left : left + new_w] = np.asarray(picture)
    return canvas, LetterboxTransform(scale_xy, (left, top))


def random_scene(tenant_id: str, seed: int) -> Scene:
    """Draw a scene of random size, shape and plant size, and of random JPEG quality."""
    rng = np.random.Generator(np.random.PCG64([77, seed]))
    low, high = _SIZES[rng.choice(len(_SIZES), p=[share for share, _ in _SIZES])][1]
    longer_side_px = math.exp(rng.uniform(math.log(low), math.log(high)))
    across, down = _SHAPES[int(rng.integers(len(_SHAPES)))]
    scale = longer_side_px / max(across, down)
    plant_px = math.exp(rng.uniform(math.log(_PLANTS_PX[0]), math.log(_PLANTS_PX[1])))
    coverage = 0.0 if rng.uniform() < 0.03 else rng.uniform(0.45, 1.0)
    scene = render(
        tenant_id,
        seed=seed,
        size_wh=(max(round(across * scale), 64), max(round(down * scale), 64)),
        plant_px=plant_px * longer_side_px / CANVAS_PX,
        coverage=coverage,
    )
    if rng.uniform() < 0.7:
        scene.image[:] = jpeg_roundtrip(scene.image, int(rng.integers(55, 96)))
    return scene


def jpeg_roundtrip(image: Pixels, quality: int) -> Pixels:
    """Return the image after encoding and decoding as a JPEG file of that quality."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def close_up(image: Pixels, box: Floats, margin: float, side_px: int = CLOSE_UP_PX) -> Pixels:
    """Cut out a square (side, side, 3) around a box, larger by the margin and shifted into the image."""
    height, width = image.shape[:2]
    side = min(float((box[2:] - box[:2]).max()) * (1.0 + margin), width, height)
    x, y = (box[:2] + box[2:]) / 2 - side / 2
    x, y = min(max(float(x), 0.0), width - side), min(max(float(y), 0.0), height - side)
    square = (x, y, x + side, y + side)
    picture = Image.fromarray(image).resize((side_px, side_px), Image.Resampling.BILINEAR, box=square)
    return np.asarray(picture)
