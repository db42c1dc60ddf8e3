"""Fills polygons with the even-odd scanline algorithm: the inverse of `shared.vision.masks.polygons`.

The scanlines are the centres of pixel rows (Foley et al., "Computer Graphics: Principles and Practice", scan
conversion of polygons). Along a scanline, a pixel is inside if its centre lies after an odd number of edges.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import numpy as np

from shared.errors import InvalidModel
from shared.runtime import deadline
from shared.vision.arrays import SizeHW
from shared.vision.masks.contours import MultiPolygon
from shared.vision.masks.masks import NOISE_ADVICE, Mask, ensure_mask_pixels_allowed

MAX_CROSSINGS: Final = 2**25  # of outlines and rows of pixels, in all masks of an image
_CHUNK_CROSSINGS: Final = 1 << 18  # their intermediate arrays stay small


def fill_polygons(outlines: Sequence[MultiPolygon], image_hw: SizeHW) -> tuple[Mask, ...]:
    """Return for each outline in image px the mask of the pixels whose centres are inside.

    All masks are filled at once: the crossings of edges and scanlines are sorted in the order of the pixels, and
    alternately begin and end a run of pixels. Masks are no larger than their outlines, and cut at the image's
    border.

    Raises:
        ImageTooLarge: The masks have more than `MAX_MASK_PIXELS` together.
        InvalidModel: Their outlines cross rows of pixels more often than those of objects do.
        DeadlineExceeded: The event's deadline passed.
    """
    rings = [ring for parts in outlines for part in parts for ring in part]
    owners = [index for index, parts in enumerate(outlines) for part in parts for _ in part]
    if not rings:
        return tuple(Mask(0, 0, np.zeros((0, 0), bool)) for _ in outlines)
    xy = np.concatenate(rings)
    lengths = np.array([len(ring) for ring in rings])
    starts = np.cumsum(lengths) - lengths
    outlined, first_rings = np.unique(owners, return_index=True)
    corners_xy, sizes_wh = np.zeros((2, len(outlines), 2), np.intp)
    corners_xy[outlined] = np.maximum(np.floor(np.minimum.reduceat(xy, starts[first_rings])), 0)
    sizes_wh[outlined] = np.minimum(np.ceil(np.maximum.reduceat(xy, starts[first_rings])), image_hw[::-1])
    sizes_wh = np.maximum(sizes_wh - corners_xy, 0)
    ends = np.cumsum(sizes_wh.prod(axis=1))  # of each mask's pixels, which lie one mask after the other
    ensure_mask_pixels_allowed(int(ends[-1]))

    is_tail, is_head = np.ones((2, len(xy)), bool)
    is_tail[starts + lengths - 1] = is_head[starts] = False
    owner = np.array(owners).repeat(lengths - 1)
    x1, y1 = (xy[is_tail] - corners_xy[owner]).T
    x2, y2 = (xy[is_head] - corners_xy[owner]).T
    first, last = np.ceil(np.sort((y1, y2), axis=0) - 0.5).clip(0, sizes_wh[owner, 1]).astype(np.intp)
    counts = last - first  # of the scanlines that each edge crosses
    until = np.cumsum(counts)
    if until[-1] > MAX_CROSSINGS:
        raise InvalidModel(
            f"The outlines of the segments cross rows of pixels {until[-1]} times, more than the limit of "
            f"{MAX_CROSSINGS}: {NOISE_ADVICE}"
        )
    first_pixel = (ends - sizes_wh.prod(axis=1))[owner]
    width = sizes_wh[owner, 0]
    first_row = first - (until - counts)
    crossings = np.empty(until[-1], np.intp)
    cuts = np.searchsorted(until, np.arange(_CHUNK_CROSSINGS, until[-1], _CHUNK_CROSSINGS)).tolist()
    for start, stop in pairwise((0, *cuts, len(counts))):
        deadline.check()
        edge = np.arange(start, stop).repeat(counts[start:stop])
        begin = until[start] - counts[start]
        row = np.arange(begin, begin + len(edge)) + first_row[edge]
        slope = (x2[edge] - x1[edge]) / (y2[edge] - y1[edge])
        column = np.ceil(x1[edge] + (row + 0.5 - y1[edge]) * slope - 0.5).clip(0, width[edge]).astype(np.intp)
        # A run that ends with its row ends where the next row begins.
        crossings[begin : begin + len(edge)] = first_pixel[edge] + row * width[edge] + column
    crossings.sort()
    runs = np.diff(crossings, prepend=0, append=ends[-1])
    inside = np.zeros(len(runs), bool)
    inside[1::2] = True
    pixels = inside.repeat(runs)
    return tuple(
        Mask(left, top, pixels[end - w * h : end].reshape(h, w))
        for (left, top), (w, h), end in zip(corners_xy.tolist(), sizes_wh.tolist(), ends.tolist(), strict=True)
    )
