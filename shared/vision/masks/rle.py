"""Encodes masks in COCO's uncompressed run-length encoding (RLE).

RLE counts the pixels of a whole image down its columns: outside, inside, outside, and so on. A result has
`{"size": [h, w], "counts": [...]}`, as in COCO's annotations
(https://github.com/cocodataset/cocoapi/blob/master/PythonAPI/pycocotools/mask.py). The function
`pycocotools.mask.frPyObjects` reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from shared.errors import InvalidModel
from shared.runtime import deadline
from shared.vision.arrays import IndexArray, SizeHW
from shared.vision.masks.masks import NOISE_ADVICE, Mask

MAX_RUNS: Final = 2**23  # of all masks of an image


def encode_all(masks: Sequence[Mask], image_hw: SizeHW) -> list[list[int]]:
    """Return the counts of all masks of an image, see `encode_rle`.

    Raises:
        InvalidModel: There are more than `MAX_RUNS` counts.
        DeadlineExceeded: The event's deadline passed.
    """
    runs, total = [], 0
    for mask in masks:
        deadline.check()
        counts = _counts(mask, image_hw)
        total += len(counts)
        if total > MAX_RUNS:
            raise InvalidModel(
                f"The run lengths of {len(masks)} segments are more than {MAX_RUNS} numbers: leave out "
                f"run_lengths, {NOISE_ADVICE}"
            )
        runs.append(counts.tolist())
    return runs


def encode_rle(mask: Mask, image_hw: SizeHW) -> list[int]:
    """Return the counts of a mask in an image: pixels outside (perhaps 0), pixels inside, pixels outside, ...

    Pixels of the mask beyond the image are left out. The array that is searched has the mask's size, not that of
    the image.
    """
    counts: list[int] = _counts(mask, image_hw).tolist()
    return counts


def _counts(mask: Mask, image_hw: SizeHW) -> IndexArray:
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
    counts: IndexArray = np.diff(boundaries[kept], prepend=0, append=height * width)
    ends_inside = len(counts) > 1 and counts[-1] == 0  # the image's last pixel is of the mask
    return counts[: len(counts) - ends_inside]
