"""Decodes COCO's run-length encoding, and converts it to and from the compressed text of pycocotools."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from shared.vision.arrays import BoolArray, SizeHW

_SHIFTS: Final = np.arange(0, 70, 5).clip(max=63)  # of the five-bit groups of a number


def decode_rle(counts: Sequence[int], image_hw: SizeHW) -> BoolArray:
    """Return the whole image (h, w), the inverse of `encode_rle`."""
    inside = np.arange(len(counts)) % 2 == 1
    pixels: BoolArray = inside.repeat(counts).reshape(image_hw[::-1]).T
    return pixels


def compress_rle(counts: Sequence[int]) -> str:
    """Return the counts as text, as `rleToString` of cocoapi does.

    From the fourth count on, differences from the count before the last are written. Each number is written in
    groups of five bits, the lowest first, as printable characters.
    """
    numbers = np.array(counts, np.int64)
    numbers[3:] -= np.array(counts[1:-2], np.int64)
    max_groups = int(np.abs(numbers).max(initial=0)).bit_length() // 5 + 2
    rest = numbers[:, None] >> _SHIFTS[:max_groups]
    groups = rest[:, :-1] & 31
    # A group is the last one if what is left is only its sign bit, repeated.
    is_last = rest[:, 1:] == np.where(groups & 16, -1, 0)
    needed = ~np.logical_or.accumulate(np.pad(is_last, ((0, 0), (1, 0)))[:, :-1], axis=1)
    return str((groups + 32 * ~is_last + 48)[needed].astype(np.uint8).tobytes(), "ascii")


def decompress_rle(text: str) -> list[int]:
    """Return the counts that the text stands for, the inverse of `compress_rle`."""
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
