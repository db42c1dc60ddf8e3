"""Encodes masks in COCO's uncompressed run-length encoding (RLE).

RLE counts the pixels of a whole image down its columns: outside, inside, outside, and so on. A result has
`{"size": [h, w], "counts": [...]}`, as in COCO's annotations
(https://github.com/cocodataset/cocoapi/blob/master/PythonAPI/pycocotools/mask.py). The function
`pycocotools.mask.frPyObjects` reads it.
"""

from __future__ import annotations

import numpy as np

from shared.vision.arrays import SizeHW
from shared.vision.masks.masks import Mask


def encode_rle(mask: Mask, image_hw: SizeHW) -> list[int]:
    """Return the counts of a mask in an image: pixels outside (perhaps 0), pixels inside, pixels outside, ...

    Pixels of the mask beyond the image are left out. The array that is searched has the mask's size, not that of
    the image.
    """
    height, width = image_hw
    mask = mask.cropped(0, 0, width, height)
    rows, columns = mask.pixels.shape
    changes = np.zeros(
        (rows + 1, columns), bool
    )  # between each pixel and the one above it, and after the last row
    changes[:rows] = mask.pixels
    changes[1:] ^= mask.pixels
    y, x = np.divmod(np.flatnonzero(changes), columns or 1)
    by_column = np.argsort(x, kind="stable")
    boundaries = ((x + mask.left) * height + (y + mask.top))[by_column]
    # A run at the foot of a column goes on at the head of the next one: both boundaries are dropped.
    continued = boundaries[1:] == boundaries[:-1]
    kept = np.ones(len(boundaries), bool)
    kept[1:] &= ~continued
    kept[:-1] &= ~continued
    counts = np.diff(boundaries[kept], prepend=0, append=height * width)
    ends_inside = len(counts) > 1 and counts[-1] == 0  # the image's last pixel is of the mask
    runs: list[int] = counts[: len(counts) - ends_inside].tolist()
    return runs
