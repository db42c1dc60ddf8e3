"""Lists the pairs of boxes that may overlap, with a sweep over strips of the image."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Final

import numpy as np

from shared.errors import ImageTooLarge
from shared.runtime import deadline
from shared.vision.arrays import BoolArray, Float64Array, Int64Array

Pairs = tuple[Int64Array, Int64Array]  # (m,) indices of one box each, (m,) of the other

MAX_BOXES: Final = 250_000  # of all tiles or segments of an image together
MAX_PAIRS: Final = 2**29  # of boxes that may overlap; comparing so many takes some ten seconds
_MIN_DENSE_PAIRS: Final = 1 << 18  # from here on, comparing each box with all others may be faster
_DENSE_FRACTION: Final = 0.25  # of all pairs: with more than that, it is faster
_MAX_MATCHING_PAIRS: Final = 1 << 24  # are kept; with more, boxes are compared row by row, which takes no memory
_CHUNK_PAIRS: Final = 1 << 16  # their intermediate arrays stay in the CPU's cache


def ensure_box_count_allowed(count: int) -> None:
    """Check the number of boxes that all tiles or segments of an image have together.

    Raises:
        ImageTooLarge: There are more than `MAX_BOXES`.
    """
    if count > MAX_BOXES:
        raise ImageTooLarge(
            f"The tiles of the image have at least {count} boxes together, more than the limit of {MAX_BOXES}: "
            f"find fewer (max_detections, confidence_threshold), or use larger tiles (slice_size)"
        )


def candidate_pairs(boxes: Float64Array, classes: Int64Array) -> Iterator[Pairs] | None:
    """Return pairs of boxes of one class that may overlap, each once, or None if many of all pairs do.

    All pairs that overlap are among them. This is a sweep along x in strips as high as an average box, so there
    are at most three times as many (strip, box) entries as boxes. In a strip, entries are sorted by x1, and a box
    is paired with those after it that begin before it ends. A pair that shares several strips is taken in the
    strip in which the lower of the two begins. The cost is proportional to the boxes and to the pairs near each
    other. Along x, ranks are compared instead of coordinates, which is exact.

    Args:
        boxes: (4 or more, n) the columns x1, y1, x2, y2, with x1 < x2 and y1 < y2.
        classes: (n,) a number for each box. Boxes of different numbers are no pair.

    Raises:
        ImageTooLarge: There are more than `MAX_PAIRS`.
        DeadlineExceeded: The event's deadline passed.
    """
    x1, y1, x2, y2 = boxes[:4]
    count = len(x1)
    if not count:
        return iter(())
    strip_height = max(float(np.mean(y2 - y1)), float(y2.max() - y1.min()) / count)
    first_strip = ((y1 - y1.min()) / strip_height).astype(np.int64)
    strips = (
        ((y2 - y1.min()) / strip_height).astype(np.int64) - first_strip + 1
    )  # the number of strips of each box
    # One entry for each strip of each box. A line is a strip of one class.
    box = np.repeat(np.arange(count), strips)
    strip_of_box = np.arange(len(box)) - np.repeat(np.cumsum(strips) - strips, strips)  # 0: where the box begins
    lines_per_class = int(first_strip.max() + strips.max()) + 1
    line = np.unique(classes, return_inverse=True)[1] * lines_per_class + first_strip
    line_key = (line[box] + strip_of_box) * (count + 1)
    sorted_x1 = np.sort(x1)
    key = line_key + np.searchsorted(sorted_x1, x1)[box]
    order = np.argsort(key)
    ends = np.searchsorted(key[order], (line_key + np.searchsorted(sorted_x1, x2)[box])[order])
    following = ends - np.arange(1, len(order) + 1)
    pairs, all_pairs = int(following.sum()), count * (count - 1) // 2
    if min(pairs, all_pairs) > MAX_PAIRS:
        raise ImageTooLarge(
            f"Of the {count} boxes in the image, some {min(pairs, all_pairs)} pairs overlap, more "
            f"than the limit of {MAX_PAIRS}: find fewer (max_detections, confidence_threshold), or check the model"
        )
    if pairs > max(_MIN_DENSE_PAIRS, _DENSE_FRACTION * all_pairs):
        return None  # comparing each box with all others is faster then
    return _sweep_pairs(box[order], strip_of_box[order] == 0, following)


def _sweep_pairs(box: Int64Array, begins: BoolArray, following: Int64Array) -> Iterator[Pairs]:
    """Yield the pairs of each entry with the entries that follow it, in chunks.

    Args:
        box: (entries,) the box of each entry, sorted by line and x1.
        begins: (entries,) whether the box begins in the entry's strip.
        following: (entries,) how many of the next entries begin before the entry's box ends.
    """
    until = np.cumsum(following)
    cuts = np.searchsorted(until, np.arange(_CHUNK_PAIRS, until[-1], _CHUNK_PAIRS)).tolist()
    for start, stop in pairwise((0, *cuts, len(box))):
        deadline.check()
        counts = following[start:stop]
        one = np.repeat(np.arange(start, stop), counts)
        other = np.arange(len(one)) - np.repeat(np.cumsum(counts) - counts, counts) + one + 1
        here = begins[one] | begins[other]
        yield box[one[here]], box[other[here]]


def sorted_codes(chunks: Iterator[Int64Array]) -> Int64Array | None:
    """Return all matching pairs in ascending order, or None if they are too many to keep.

    Args:
        chunks: Pairs as numbers: the first index times the number of boxes, plus the second.
    """
    parts, count = [np.empty(0, np.int64)], 0
    for chunk in chunks:
        parts.append(chunk)
        count += len(chunk)
        if count > _MAX_MATCHING_PAIRS:
            return None
    codes = np.concatenate(parts)
    codes.sort()
    return codes


def decoded(codes: Int64Array, box_count: int) -> Iterator[tuple[int, int]]:
    """Yield the two indices of each pair of `sorted_codes`.

    Raises:
        DeadlineExceeded: The event's deadline passed.
    """
    for start in range(0, len(codes), _CHUNK_PAIRS):
        deadline.check()
        first, second = np.divmod(codes[start : start + _CHUNK_PAIRS], box_count)
        yield from zip(first.tolist(), second.tolist(), strict=True)
