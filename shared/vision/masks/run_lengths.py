"""Masks as run lengths: the pixels of a whole image counted down its columns, outside and inside in turn.

That is `{"size": [h, w], "counts": [...]}` of the COCO data format. The text is that of its own implementation
(cocoapi, `rleToString`): differences in groups of five bits, as printable characters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from shared.vision.arrays import BoolArray, SizeHW
from shared.vision.masks.masks import Mask

_SHIFTS: Final = np.arange(0, 70, 5).clip(max=63)  # of the groups of a number


def run_lengths(mask: Mask, size_hw: SizeHW) -> list[int]:
    """Counts of a mask in an image of that size: pixels outside (it may be 0), pixels inside, outside, ...

    What lies beyond the image is left out. Nothing of the image's size is made.
    """
    height, width = size_hw
    mask = mask.cropped(0, 0, width, height)
    rows, columns = mask.pixels.shape
    turns = np.zeros((rows + 1, columns), bool)  # above each pixel, and below the last row
    turns[:rows] = mask.pixels
    turns[1:] ^= mask.pixels
    y, x = np.divmod(np.flatnonzero(turns), columns or 1)
    order = np.argsort(x, kind="stable")
    at = ((x + mask.left) * height + (y + mask.top))[order]
    joined = at[1:] == at[:-1]  # from the foot of a column to the head of the next
    kept = np.ones(len(at), bool)
    kept[1:] &= ~joined
    kept[:-1] &= ~joined
    counts = np.diff(at[kept], prepend=0, append=height * width)
    filled = len(counts) > 1 and counts[-1] == 0  # to the last pixel
    numbers: list[int] = counts[: len(counts) - filled].tolist()
    return numbers


def pixels(counts: Sequence[int], size_hw: SizeHW) -> BoolArray:
    """The inverse: the whole image, (h, w)."""
    inside = np.arange(len(counts)) % 2 == 1
    whole: BoolArray = inside.repeat(counts).reshape(size_hw[::-1]).T
    return whole


def compressed(counts: Sequence[int]) -> str:
    """Counts as COCO's text: from the fourth on, as differences from the last but one."""
    numbers = np.array(counts, np.int64)
    numbers[3:] -= np.array(counts[1:-2], np.int64)
    most = int(np.abs(numbers).max(initial=0)).bit_length() // 5 + 2  # groups, and what is left after the last
    rest = numbers[:, None] >> _SHIFTS[:most]
    groups = rest[:, :-1] & 31
    # A group is the last one if what is left is its sign bit over and over.
    over = rest[:, 1:] == np.where(groups & 16, -1, 0)
    needed = ~np.logical_or.accumulate(np.pad(over, ((0, 0), (1, 0)))[:, :-1], axis=1)
    return str((groups + 32 * ~over + 48)[needed].astype(np.uint8).tobytes(), "ascii")


def uncompressed(text: str) -> list[int]:
    """The inverse."""
    counts: list[int] = []
    number = shift = 0
    for character in text.encode("ascii"):
        group = character - 48
        number |= (group & 31) << shift
        shift += 5
        if not group & 32:
            number -= (group & 16) << (shift - 4)
            counts.append(number + (counts[-2] if len(counts) > 2 else 0))
            number = shift = 0
    return counts
