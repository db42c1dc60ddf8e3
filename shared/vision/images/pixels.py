"""Converts images between three bytes a pixel, (h, w, 3) uint8 RGB, and four bytes a pixel.

Images that this package decodes are stored with a padding byte after each pixel, and are passed around as a
(h, w, 3) view of that memory. A pixel of four bytes is one 32-bit number, and NumPy picks numbers out of an array
several times faster than triples. Other code sees an ordinary (h, w, 3) array.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from shared.vision.arrays import PackedPixels, Pixels


def rgb_view(padded: Pixels) -> Pixels:
    """Return the (h, w, 3) view of a (h, w, 4) array without its padding byte."""
    return padded[..., :3]


def with_padding_byte(image: Pixels) -> Pixels:
    """Return (h, w, 3) as (h, w, 4), without a copy if possible.

    If `image` is a view made by `rgb_view`, or a rectangle of one, the result shares its memory and must not be
    written to. Otherwise the result is a copy, padded with zeros.
    """
    height, width = image.shape[:2]
    base = image.base
    if (
        isinstance(base, np.ndarray)
        and base.dtype == np.uint8
        and base.ndim == 3
        and base.shape[2] == 4
        and base.flags.c_contiguous
        and image.strides == base.strides
    ):
        offset = image.ctypes.data - base.ctypes.data
        top, row_offset = divmod(offset, base.strides[0])
        left, channel = divmod(row_offset, 4)
        if channel == 0:
            return base[top : top + height, left : left + width]
    copy = np.empty((height, width, 4), np.uint8)
    copy[..., :3] = image
    copy[..., 3] = 0
    return copy


def as_uint32(image: Pixels) -> PackedPixels:
    """Return (h, w, 3) as (h, w) 32-bit numbers: red in the lowest byte, then green, then blue."""
    return with_padding_byte(image).view("<u4")[..., 0]


def as_pillow_image(image: Pixels) -> Image.Image:
    """Return (h, w, 3) as a Pillow image of mode RGBX, which shares the memory if it can."""
    height, width = image.shape[:2]
    pixels = np.ascontiguousarray(with_padding_byte(image))
    return Image.frombuffer("RGBX", (width, height), pixels, "raw", "RGBX", 0, 1)
