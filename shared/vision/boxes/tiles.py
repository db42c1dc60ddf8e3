"""Cuts an image into a grid of equal, overlapping tiles; the last ones are moved to end at the image's edge.

The grid and its order are those of SAHI's `get_slice_bboxes`, with both sizes given:
https://github.com/obss/sahi/blob/main/sahi/slicing.py
"""

from __future__ import annotations

import numpy as np

from shared.vision.arrays import Int64Array, SizeHW


def tiles(image_hw: SizeHW, slice_hw: SizeHW, overlap: float) -> Int64Array:
    """Return the tiles of an image, row by row from the top left. They cover every pixel.

    Args:
        image_hw: The image, px.
        slice_hw: A tile, px. Where the image is smaller, a tile is as large as the image.
        overlap: The share of a tile, from 0 to less than 1, that neighbours have in common. It is rounded down to
            px. The last two of a row or column have more in common.

    Returns:
        (n, 4) xyxy, image px.

    Raises:
        ValueError: `overlap` is outside [0, 1), or a size is less than one pixel.
    """
    rows, columns = _counts(image_hw, slice_hw, overlap)
    y1, y2 = _spans(image_hw[0], slice_hw[0], overlap, rows)
    x1, x2 = _spans(image_hw[1], slice_hw[1], overlap, columns)
    grid = np.empty((rows, columns, 4), np.int64)
    grid[..., 0], grid[..., 2] = x1, x2
    grid[..., 1], grid[..., 3] = y1[:, None], y2[:, None]
    return grid.reshape(-1, 4)


def tile_count(image_hw: SizeHW, slice_hw: SizeHW, overlap: float) -> int:
    """Return the number of tiles that `tiles` would return, without making them.

    Raises:
        ValueError: `overlap` is outside [0, 1), or a size is less than one pixel.
    """
    rows, columns = _counts(image_hw, slice_hw, overlap)
    return rows * columns


def _counts(image_hw: SizeHW, slice_hw: SizeHW, overlap: float) -> tuple[int, int]:
    """Return the number of rows and of columns."""
    if not 0 <= overlap < 1:
        raise ValueError(f"overlap={overlap} is invalid: expected at least 0 and less than 1")
    if min(*image_hw, *slice_hw) < 1:
        raise ValueError(
            f"An image of {image_hw} px (height, width) has no tiles of {slice_hw} px: expected at least 1 px"
        )
    rows, columns = (
        1 + max(0, -(-(length - size) // _step(size, overlap)))  # the division rounds up
        for length, size in zip(image_hw, slice_hw, strict=True)
    )
    return rows, columns


def _spans(length: int, size: int, overlap: float, count: int) -> tuple[Int64Array, Int64Array]:
    """Return where the `count` tiles of one axis begin and end, (count,) px each."""
    begin = np.minimum(np.arange(count, dtype=np.int64) * _step(size, overlap), max(length - size, 0))
    return begin, np.minimum(begin + size, length)


def _step(size: int, overlap: float) -> int:
    """Return the distance in px from one tile to the next, at least 1 even if the overlap rounds to `size`."""
    return max(size - int(overlap * size), 1)
