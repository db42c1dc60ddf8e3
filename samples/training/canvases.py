"""Scenes of every size brought to the network's canvas, as it will see them in use."""

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
AREAS_PX = 320  # beds and trays are large: half the canvas shows them as well

# (share, longest side in px): tiles, phone pictures, photographs
_SIZES = ((0.30, (448, 640)), (0.42, (640, 1280)), (0.18, (1280, 2000)), (0.10, (2000, 4000)))
_SHAPES = ((4, 3), (3, 4), (1, 1), (16, 9), (9, 16), (3, 2))
_PLANTS_PX = (8.5, 84.0)  # on the canvas


@dataclass(frozen=True)
class Fit:
    """How an image lies on a canvas: image px times scale plus offset gives canvas px."""

    scale_xy: tuple[float, float]
    offset_xy: tuple[int, int]

    def onto(self, points: Floats) -> Floats:
        """(..., 2k) x, y, x, y, … from image px to canvas px."""
        times = points.shape[-1] // 2
        scale = np.tile(np.array(self.scale_xy, np.float32), times)
        offset = np.tile(np.array(self.offset_xy, np.float32), times)
        return (points * scale + offset).astype(np.float32)

    def back(self, points: Floats) -> Floats:
        """The inverse of `onto`."""
        times = points.shape[-1] // 2
        scale = np.tile(np.array(self.scale_xy, np.float32), times)
        offset = np.tile(np.array(self.offset_xy, np.float32), times)
        return ((points - offset) / scale).astype(np.float32)


def letterboxed(image: Pixels, side_px: int = CANVAS_PX) -> tuple[Pixels, Fit]:
    """(side, side, 3) the image in the middle of a grey canvas, bilinear without antialias."""
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
    return canvas, Fit(scale_xy, (left, top))


def any_scene(tenant_id: str, seed: int) -> Scene:
    """A scene of random size, shape and plant size, as sharp or as poor as photographs are."""
    rng = np.random.Generator(np.random.PCG64([77, seed]))
    low, high = _SIZES[rng.choice(len(_SIZES), p=[share for share, _ in _SIZES])][1]
    longest = math.exp(rng.uniform(math.log(low), math.log(high)))
    across, down = _SHAPES[int(rng.integers(len(_SHAPES)))]
    scale = longest / max(across, down)
    plant_px = math.exp(rng.uniform(*(math.log(side) for side in _PLANTS_PX)))
    coverage = 0.0 if rng.uniform() < 0.03 else rng.uniform(0.45, 1.0)
    scene = render(
        tenant_id,
        seed=seed,
        size_wh=(max(round(across * scale), 64), max(round(down * scale), 64)),
        plant_px=plant_px * longest / CANVAS_PX,
        coverage=coverage,
    )
    if rng.uniform() < 0.7:
        scene.image[:] = through_jpeg(scene.image, int(rng.integers(55, 96)))
    return scene


def through_jpeg(image: Pixels, quality: int) -> Pixels:
    """The image as it comes back from a JPEG file of that quality."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def close_up(image: Pixels, box: Floats, margin: float, side_px: int = CLOSE_UP_PX) -> Pixels:
    """(side, side, 3) a square around a box, wider by the margin, moved to lie inside the image."""
    height, width = image.shape[:2]
    side = min(float((box[2:] - box[:2]).max()) * (1.0 + margin), width, height)
    x, y = (box[:2] + box[2:]) / 2 - side / 2
    x, y = min(max(float(x), 0.0), width - side), min(max(float(y), 0.0), height - side)
    place = (x, y, x + side, y + side)
    picture = Image.fromarray(image).resize((side_px, side_px), Image.Resampling.BILINEAR, box=place)
    return np.asarray(picture)
