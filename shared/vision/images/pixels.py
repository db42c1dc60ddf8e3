"""How pixels lie in memory: (h, w, 3) uint8 RGB, as a view of four-byte pixels where we made them ourselves.

A four-byte pixel is one number, and picking numbers out of an array is several times cheaper than picking
triples. Everyone else sees an ordinary (h, w, 3) array.
"""

from __future__ import annotations

import numpy as np

from shared.vision.arrays import PackedPixels, Pixels


def rgb_view(with_padding_byte: Pixels) -> Pixels:
    """(h, w, 4) of R, G, B and a byte that means nothing, seen as (h, w, 3)."""
    return with_padding_byte[..., :3]


def with_padding_byte(image: Pixels) -> Pixels:
    """(h, w, 3) as (h, w, 4): the memory behind it where it is such a view (do not write to it), else a copy."""
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
        top, rest = divmod(offset, base.strides[0])
        left, channel = divmod(rest, 4)
        if channel == 0:
            return base[top : top + height, left : left + width]
    copy = np.empty((height, width, 4), np.uint8)
    copy[..., :3] = image
    copy[..., 3] = 0
    return copy


def as_uint32(image: Pixels) -> PackedPixels:
    """(h, w, 3) as (h, w) numbers of 32 bits: red in the lowest byte, then green, then blue."""
    return with_padding_byte(image).view("<u4")[..., 0]
