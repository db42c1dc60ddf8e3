"""Resamples images: OpenCV's fixed-point bilinear, the block mean, and thumbnails.

Everything is arithmetic on four-byte pixels, in bands of rows that stay in the CPU's cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image

from shared.vision.arrays import Float32Array, IndexArray, PackedPixels, Pixels
from shared.vision.images.pixels import as_pillow_image, as_uint32, rgb_view

_FIXED_POINT_ONE: Final = 2048  # 1.0 with 11 fractional bits: OpenCV's INTER_RESIZE_COEF_SCALE
_MAX_LEVEL: Final = np.float32(255)
_BAND_ROWS: Final = 48
_MAX_GATHER_PIXELS: Final = 1 << 16  # pixels of a wide image that are gathered from in one go
_BYTE_MASK: Final = np.uint32(0xFF)
_GREEN_MASK: Final = np.uint32(0xFF00)
_RED_AND_BLUE_MASK: Final = np.uint32(0xFF00FF)


def resize(image: Pixels, out: Float32Array, extent_hw: tuple[float, float] | None = None) -> None:
    """Resize with OpenCV's fixed-point bilinear interpolation (INTER_LINEAR on uint8), to the last bit.

    Samples have half-pixel centres, no antialiasing, and weights of 11 fractional bits. Along a row, a sample is
    `(S0*a0 + S1*a1) >> 4`. Down a column, it is `((T0*b0 >> 16) + (T1*b1 >> 16) + 2) >> 2`. Source: HResizeLinear
    and VResizeLinear in https://github.com/opencv/opencv/blob/4.x/modules/imgproc/src/resize.cpp

    Args:
        image: (h, w, 3) uint8 RGB.
        out: (3, h', w'), written in the range 0 to 1.
        extent_hw: The part of the image that is resized, from its top left, in its px. It ends within a pixel if
            the image was decoded smaller and its last pixels are means of fewer pixels. The default is all of it.
    """
    pixels = as_uint32(image)
    height, width = out.shape[1:]
    extent_hw = extent_hw or (float(pixels.shape[0]), float(pixels.shape[1]))
    if extent_hw == (2 * height, 2 * width):
        return _resize_by_half(pixels, out)
    rows, columns = _taps(pixels.shape[0], height, extent_hw[0]), _taps(pixels.shape[1], width, extent_hw[1])
    if rows.weight.any() or columns.weight.any():
        return _interpolate(pixels, rows, columns, out)
    if pixels.shape != (height, width):  # scaled by an odd number: each sample is exactly one pixel
        pixels = pixels[rows.first].take(columns.first, axis=1)  # see `_interpolate`
    for channel in range(3):
        _write_scaled(pixels >> np.uint32(8 * channel) & _BYTE_MASK, out[channel])
    return None


def block_mean(image: Pixels, factors_hw: tuple[int, int]) -> Pixels:
    """Downscale by whole numbers with a box filter: each result is the mean of a block of pixels.

    A block that the image's edge cuts is the mean of the pixels that it has. This is `PIL.Image.Image.reduce`:
    https://pillow.readthedocs.io/en/stable/reference/Image.html#PIL.Image.Image.reduce

    Args:
        image: (h, w, 3) uint8 RGB.
        factors_hw: The height and the width of a block.

    Returns:
        (ceil(h / factor), ceil(w / factor), 3) uint8 RGB.
    """
    if factors_hw == (1, 1):
        return image
    return rgb_view(np.asarray(as_pillow_image(image).reduce(factors_hw[::-1])))


def thumbnail(picture: Pixels, long_side: int) -> Pixels:
    """Downscale (h, w, 3) with Lanczos so that its longer side is `long_side`, with its proportions kept.

    A picture that is no longer than that is returned as it is.
    """
    height, width = picture.shape[:2]
    if max(height, width) <= long_side:
        return picture
    scale = long_side / max(height, width)
    size_wh = max(round(width * scale), 1), max(round(height * scale), 1)
    # reducing_gap: a block mean to three times the size comes first, which is fast and not visible.
    resized: Pixels = np.asarray(
        as_pillow_image(picture).resize(size_wh, Image.Resampling.LANCZOS, reducing_gap=3.0)
    )
    return resized[..., :3]


@dataclass(frozen=True, slots=True, eq=False)
class _Taps:
    """For each of n samples along an axis, the two source indices it lies between and the second one's weight."""

    first: IndexArray
    second: IndexArray
    weight: PackedPixels


def _taps(length: int, target: int, extent: float) -> _Taps:
    """Return the taps of `target` samples, spread evenly over `extent` px of an axis of `length` px."""
    centre = ((np.arange(target) + 0.5) * (extent / target) - 0.5).astype(np.float32)
    first = np.floor(centre)
    weight = np.rint((centre - first) * _FIXED_POINT_ONE).astype(np.uint32)
    first = first.astype(np.intp)
    weight[(first < 0) | (first >= length - 1)] = 0
    first = np.clip(first, 0, length - 1)
    return _Taps(first, np.minimum(first + 1, length - 1), weight)


def _interpolate(pixels: PackedPixels, rows: _Taps, columns: _Taps, out: Float32Array) -> None:
    """Interpolate bilinearly, band by band: along the rows first, then down the columns.

    Neighbouring samples often share a source row. It is interpolated along itself only once then.
    """
    height, width = out.shape[1:]
    max_lines = 2 * min(_BAND_ROWS, height)
    # Repeated for each line, because NumPy multiplies full arrays twice as fast as broadcast ones.
    right_weight = np.repeat(columns.weight[None], max_lines, axis=0)
    left_weight = np.uint32(_FIXED_POINT_ONE) - right_weight
    scratch = np.empty((4, max_lines, width), np.uint32)
    step = max(_MAX_GATHER_PIXELS // pixels.shape[1], 1)
    for start in range(0, height, _BAND_ROWS):
        band = slice(start, min(start + _BAND_ROWS, height))
        lower_weight = np.repeat(rows.weight[band, None], width, axis=1)
        upper_weight = np.uint32(_FIXED_POINT_ONE) - lower_weight
        count = len(lower_weight)
        lines = np.concatenate((rows.first[band], rows.second[band]))
        distinct, line_index = np.unique(lines, return_inverse=True)
        shared = len(distinct) < 1.6 * count  # above that, sharing costs more than it saves
        lines = distinct if shared else lines
        used = len(lines)
        first, second, along, other = scratch[:, :used]
        for begin in range(0, used, step):
            part = slice(begin, begin + step)
            source = pixels[lines[part]]  # `take` would first copy all of a tile, which is a view of its image
            # With the default mode, "raise", NumPy buffers the output and copies it.
            source.take(columns.first, axis=1, out=first[part], mode="clip")
            source.take(columns.second, axis=1, out=second[part], mode="clip")
        for channel, (mask, shift) in enumerate(((_BYTE_MASK, 4), (_GREEN_MASK, 12), (_BYTE_MASK, 4))):
            if channel == 2:
                first >>= np.uint32(16)
                second >>= np.uint32(16)
            np.bitwise_and(first, mask, out=along)
            np.bitwise_and(second, mask, out=other)
            along *= left_weight[:used]
            other *= right_weight[:used]
            along += other
            along >>= np.uint32(shift)
            if shared:
                upper, lower = along.take(line_index[:count], axis=0), along.take(line_index[count:], axis=0)
            else:
                upper, lower = along[:count], along[count:]
            upper *= upper_weight
            upper >>= np.uint32(16)
            lower *= lower_weight
            lower >>= np.uint32(16)
            upper += lower
            upper += np.uint32(2)
            upper >>= np.uint32(2)
            _write_scaled(upper, out[channel, band])


def _resize_by_half(pixels: PackedPixels, out: Float32Array) -> None:
    """Average blocks of 2 x 2 pixels, `(sum + 2) >> 2`: bilinear interpolation where all weights are a half.

    Red and blue are summed in one number. OpenCV has the same special case (ResizeAreaFast).
    """
    height, width = out.shape[1:]
    wide, narrow = np.empty((2, _BAND_ROWS, 2 * width), np.uint32), np.empty((_BAND_ROWS, width), np.uint32)
    for start in range(0, height, _BAND_ROWS):
        band = slice(start, min(start + _BAND_ROWS, height))
        count = band.stop - start
        top, bottom = pixels[2 * start : 2 * band.stop : 2], pixels[2 * start + 1 : 2 * band.stop : 2]
        above, below = wide[:, :count]
        sums = narrow[:count]
        for mask, rounding, shift in ((_GREEN_MASK, 0x200, 10), (_RED_AND_BLUE_MASK, 0x20002, 2)):
            np.bitwise_and(top, mask, out=above)
            np.bitwise_and(bottom, mask, out=below)
            above += below
            np.add(above[:, ::2], above[:, 1::2], out=sums)
            sums += np.uint32(rounding)
            sums >>= np.uint32(shift)
            if mask == _GREEN_MASK:
                _write_scaled(sums, out[1, band])
        _write_scaled(sums & _BYTE_MASK, out[0, band])
        sums >>= np.uint32(16)
        sums &= _BYTE_MASK
        _write_scaled(sums, out[2, band])


def _write_scaled(levels: PackedPixels, out: Float32Array) -> None:
    """Write levels 0 to 255 as 0 to 1, in two steps: NumPy converts and divides in small pieces otherwise."""
    out[...] = levels
    out /= _MAX_LEVEL  # multiplying by 1/255 differs in the last bit, which can reorder equal confidences
