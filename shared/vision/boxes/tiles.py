"""Where an image is cut into tiles: a grid of equal, overlapping slices, the last ones moved inside the image.

The grid is sahi's (`get_slice_bboxes`, with both sizes given), tile for tile and in its order.
"""

from __future__ import annotations

import numpy as np

from shared.vision.arrays import Int64Array, SizeHW


def tiles(image_hw: SizeHW, slice_hw: SizeHW, overlap: float) -> Int64Array:
    """(n, 4) xyxy in image px, row by row from the top left: every pixel of the image is in one tile or more.

    Neighbours share `int(overlap * size)` px in each axis, the last two of a row or column share more. An image
    smaller than the slice in an axis is used whole in it. ValueError: see `tile_count`.
    """
    rows, columns = _counts(image_hw, slice_hw, overlap)
    y1, y2 = _spans(image_hw[0], slice_hw[0], overlap, rows)
    x1, x2 = _spans(image_hw[1], slice_hw[1], overlap, columns)
    grid = np.empty((rows, columns, 4), np.int64)
    grid[..., 0], grid[..., 2] = x1, x2
    grid[..., 1], grid[..., 3] = y1[:, None], y2[:, None]
    return grid.reshape(-1, 4)


def tile_count(image_hw: SizeHW, slice_hw: SizeHW, overlap: float) -> int:
    """How many tiles there would be, without making them.

    Raises ValueError for an overlap outside [0, 1) and for sizes below one pixel.
    """
    rows, columns = _counts(image_hw, slice_hw, overlap)
    return rows * columns


def _counts(image_hw: SizeHW, slice_hw: SizeHW, overlap: float) -> tuple[int, int]:
    if not 0 <= overlap < 1:
        raise ValueError(f"tiles overlap by a share of their size, from 0 to less than 1, not by {overlap}")
    if min(*image_hw, *slice_hw) < 1:
        raise ValueError(f"no tiles of {slice_hw} px (height, width) in an image of {image_hw}")
    rows, columns = (
        1 + max(0, -(-(length - size) // _step(size, overlap)))  # the division rounds up
        for length, size in zip(image_hw, slice_hw, strict=True)
    )
    return rows, columns


def _spans(length: int, size: int, overlap: float, count: int) -> tuple[Int64Array, Int64Array]:
    """Where the `count` tiles of one axis begin and end, px."""
    begin = np.minimum(np.arange(count, dtype=np.int64) * _step(size, overlap), max(length - size, 0))
    return begin, np.minimum(begin + size, length)


def _step(size: int, overlap: float) -> int:
    return max(size - int(overlap * size), 1)  # 0.9999999999999999 of a size may round to the size itself
