"""Make the photographs for the benchmarks from scenes of the sample world."""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
from PIL import Image

from samples.scenes import render
from shared.vision.arrays import Pixels
from shared.vision.images import codec

HD: Final = (1280, 720)
FULL_HD: Final = (1920, 1080)
TWELVE_MP: Final = (4000, 3000)
MAX_PIXELS: Final = 50_000_000
_JPEG_QUALITY: Final = 75
_MAX_RENDERED_SIDE_PX: Final = 960  # larger photos are upscaled, as a lens resolves less than its sensor


@cache
def photo(size_wh: tuple[int, int]) -> bytes:
    """Return a JPEG file of that size."""
    scale = min(1.0, _MAX_RENDERED_SIDE_PX / max(size_wh))
    width, height = (round(side * scale) for side in size_wh)
    scene = render("tenant-001", seed=1, size_wh=(width, height)).image
    picture = Image.fromarray(np.ascontiguousarray(scene)).resize(size_wh, Image.Resampling.BICUBIC)
    return codec.encode_jpeg(np.asarray(picture), quality=_JPEG_QUALITY)


@cache
def pixels(size_wh: tuple[int, int]) -> Pixels:
    """Return the decoded pixels (h, w, 3) of the photograph of that size."""
    return codec.decode(photo(size_wh), max_pixels=MAX_PIXELS)


def image_hw(size_wh: tuple[int, int]) -> tuple[int, int]:
    """Return (height, width) of a (width, height)."""
    return size_wh[1], size_wh[0]


def size_name(size_wh: tuple[int, int]) -> str:
    """Return the usual name of a size, with the size of the photograph's file."""
    name = {HD: "720p", FULL_HD: "1080p", TWELVE_MP: "12 MP"}.get(size_wh, "{}x{}".format(*size_wh))
    return f"{name} ({len(photo(size_wh)) / 1000:.0f} kB)"
