"""The pictures that the benchmarks look at: scenes of the sample world, as a camera would send them."""

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
_QUALITY: Final = 75
_DRAWN: Final = 960  # px of the longer side; beyond that a lens has less to tell than the sensor has pixels


@cache
def photo(size_wh: tuple[int, int]) -> bytes:
    """A JPEG file of that size."""
    drawn = min(1.0, _DRAWN / max(size_wh))
    width, height = (round(side * drawn) for side in size_wh)
    scene = render("tenant-001", seed=1, size_wh=(width, height)).image
    picture = Image.fromarray(np.ascontiguousarray(scene)).resize(size_wh, Image.Resampling.BICUBIC)
    return codec.encode_jpeg(np.asarray(picture), quality=_QUALITY)


@cache
def pixels(size_wh: tuple[int, int]) -> Pixels:
    """(h, w, 3) of the same, as it is decoded."""
    return codec.decode(photo(size_wh), max_pixels=MAX_PIXELS)


def image_hw(size_wh: tuple[int, int]) -> tuple[int, int]:
    return size_wh[1], size_wh[0]


def named(size_wh: tuple[int, int]) -> str:
    """As people call it, with the size of its file."""
    name = {HD: "720p", FULL_HD: "1080p", TWELVE_MP: "12 MP"}.get(size_wh, "{}x{}".format(*size_wh))
    return f"{name} ({len(photo(size_wh)) / 1000:.0f} kB)"
