"""Resamples images into a model's planes: OpenCV's bilinear on uint8 to the last bit, and averages.

The fixed point: along the row S0*a0 + S1*a1 >> 4, down the column T0*b0 >> 16 plus T1*b1 >> 16, plus 2, >> 2, with
weights of 11 bits. Everything is arithmetic on four-byte pixels in bands of rows that stay in the cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image

from shared.vision.arrays import Float32Array, IndexArray, PackedPixels, Pixels
from shared.vision.images.pixels import as_uint32, rgb_view, with_padding_byte

_ONE: Final = 2048  # 1.0 in 11-bit fixed point
_LEVELS: Final = np.float32(255)
_BAND: Final = 48
_NEAR: Final = 1 << 16  # px of a wide image that are picked from at once
_BYTE: Final = np.uint32(0xFF)
_GREEN: Final = np.uint32(0xFF00)
_RED_AND_BLUE: Final = np.uint32(0xFF00FF)


def resize(image: Pixels, out: Float32Array, extent_hw: tuple[float, float] | None = None) -> None:
    """Resample (h, w, 3) uint8 into the planes of `out` (3, h', w') in 0 to 1.

    `extent_hw`: how much of the image, from its top left, is to be seen, if the last pixels are not whole ones.
    """
    pixels = as_uint32(image)
    height, width = out.shape[1:]
    extent_hw = extent_hw or (float(pixels.shape[0]), float(pixels.shape[1]))
    if extent_hw == (2 * height, 2 * width):
        return _halve(pixels, out)
    rows, columns = _taps(pixels.shape[0], height, extent_hw[0]), _taps(pixels.shape[1], width, extent_hw[1])
    if rows.weight.any() or columns.weight.any():
        return _blend(pixels, rows, columns, out)
    if pixels.shape != (height, width):  # a third, a fifth, …: the pixels in the middle
        pixels = pixels.take(rows.first, axis=0).take(columns.first, axis=1)
    for channel in range(3):
        _write(pixels >> np.uint32(8 * channel) & _BYTE, out[channel])
    return None


def block_mean(image: Pixels, times_hw: tuple[int, int]) -> Pixels:
    """(h, w, 3) with rectangles of so many pixels averaged to one; those cut by an edge are of what is there."""
    if times_hw == (1, 1):
        return image
    height, width = image.shape[:2]
    pixels = np.ascontiguousarray(with_padding_byte(image))
    picture = Image.frombuffer("RGBX", (width, height), pixels, "raw", "RGBX", 0, 1)
    return rgb_view(np.asarray(picture.reduce(times_hw[::-1])))


@dataclass(frozen=True, slots=True, eq=False)
class _Taps:
    """For each sample (n,) along an axis: the two positions it lies between, and the weight of the second one."""

    first: IndexArray
    second: IndexArray
    weight: PackedPixels


def _taps(length: int, target: int, extent: float) -> _Taps:
    centre = ((np.arange(target) + 0.5) * (extent / target) - 0.5).astype(np.float32)
    first = np.floor(centre)
    weight = np.rint((centre - first) * _ONE).astype(np.uint32)
    first = first.astype(np.intp)
    weight[(first < 0) | (first >= length - 1)] = 0
    first = np.clip(first, 0, length - 1)
    return _Taps(first, np.minimum(first + 1, length - 1), weight)


def _blend(pixels: PackedPixels, rows: _Taps, columns: _Taps, out: Float32Array) -> None:
    """The general case. A row of pixels that several samples lie beside is blended along itself once."""
    height, width = out.shape[1:]
    most = 2 * min(_BAND, height)
    right = np.repeat(columns.weight[None], most, axis=0)  # in full: numpy multiplies that twice as fast
    left = np.uint32(_ONE) - right
    scratch = np.empty((4, most, width), np.uint32)
    step = max(_NEAR // pixels.shape[1], 1)
    for start in range(0, height, _BAND):
        band = slice(start, min(start + _BAND, height))
        lower = np.repeat(rows.weight[band, None], width, axis=1)
        upper = np.uint32(_ONE) - lower
        count = len(lower)
        lines = np.concatenate((rows.first[band], rows.second[band]))
        distinct, places = np.unique(lines, return_inverse=True)
        shared = len(distinct) < 1.6 * count  # otherwise it costs more than it saves
        lines = distinct if shared else lines
        used = len(lines)
        first, second, above, other = scratch[:, :used]
        for begin in range(0, used, step):
            part = slice(begin, begin + step)
            source = pixels.take(lines[part], axis=0)
            # mode: with the default one the answer is written twice
            source.take(columns.first, axis=1, out=first[part], mode="clip")
            source.take(columns.second, axis=1, out=second[part], mode="clip")
        for channel, (byte, shift) in enumerate(((_BYTE, 4), (_GREEN, 12), (_BYTE, 4))):
            if channel == 2:
                first >>= np.uint32(16)
                second >>= np.uint32(16)
            np.bitwise_and(first, byte, out=above)
            np.bitwise_and(second, byte, out=other)
            above *= left[:used]
            other *= right[:used]
            above += other
            above >>= np.uint32(shift)
            if shared:
                top, bottom = above.take(places[:count], axis=0), above.take(places[count:], axis=0)
            else:
                top, bottom = above[:count], above[count:]
            top *= upper
            top >>= np.uint32(16)
            bottom *= lower
            bottom >>= np.uint32(16)
            top += bottom
            top += np.uint32(2)
            top >>= np.uint32(2)
            _write(top, out[channel, band])


def _halve(pixels: PackedPixels, out: Float32Array) -> None:
    """All weights are a half: the sum of four pixels, plus 2, >> 2, of red and blue at once."""
    height, width = out.shape[1:]
    wide, narrow = np.empty((2, _BAND, 2 * width), np.uint32), np.empty((_BAND, width), np.uint32)
    for start in range(0, height, _BAND):
        band = slice(start, min(start + _BAND, height))
        count = band.stop - start
        top, bottom = pixels[2 * start : 2 * band.stop : 2], pixels[2 * start + 1 : 2 * band.stop : 2]
        above, below = wide[:, :count]
        sums = narrow[:count]
        for byte, half, shift in ((_GREEN, 0x200, 10), (_RED_AND_BLUE, 0x20002, 2)):
            np.bitwise_and(top, byte, out=above)
            np.bitwise_and(bottom, byte, out=below)
            above += below
            np.add(above[:, ::2], above[:, 1::2], out=sums)
            sums += np.uint32(half)
            sums >>= np.uint32(shift)
            if byte == _GREEN:
                _write(sums, out[1, band])
        _write(sums & _BYTE, out[0, band])
        sums >>= np.uint32(16)
        sums &= _BYTE
        _write(sums, out[2, band])


def _write(levels: PackedPixels, out: Float32Array) -> None:
    """0 to 255 as 0 to 1, in two steps: in one, numpy converts in small pieces."""
    out[...] = levels
    out /= _LEVELS  # not times its inverse: that is another number in the last bit, and equals change places
