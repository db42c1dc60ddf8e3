"""Outlines masks with simplified polygons, in the coordinates of GeoJSON MultiPolygons.

The contours along pixel edges (`shared.vision.masks.contours`) are staircases. Their corners are cut, and the
vertices that matter little are left out with the Ramer-Douglas-Peucker algorithm (Douglas and Peucker, "Algorithms
for the reduction of the number of points required to represent a digitized line or its caricature", 1973).

Outer rings run counterclockwise and holes clockwise in the sense of RFC 7946
(https://www.rfc-editor.org/rfc/rfc7946#section-3.1.6), which is that of the numbers: the sum of x1 y2 - x2 y1 of
an outer ring is positive. On a screen, where y points down, it looks reversed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from shared.errors import InvalidModel
from shared.runtime import deadline
from shared.vision.arrays import Float64Array, IndexArray
from shared.vision.images.letterbox import Letterbox
from shared.vision.masks.contours import Contours, MultiPolygon, close_rings, trace_contours
from shared.vision.masks.masks import NOISE_ADVICE, Mask

DEFAULT_MAX_AREA_CHANGE: Final = 0.02
MAX_VERTICES: Final = 2**21  # of the outlines of all segments of an image
MAX_RINGS: Final = 2**17  # their outer rings and holes
_BATCH_PIXELS: Final = 1 << 26
# Lines of an outline with cut corners are at least 0.7 px apart, so that they never meet if each moves by less
# than half of that.
MAX_TOLERANCE_PX: Final = 0.35


def polygons(masks: Sequence[Mask], *, max_area_change: float = DEFAULT_MAX_AREA_CHANGE) -> list[MultiPolygon]:
    """Outline each mask.

    First, the corners of staircases are cut, from the middle of one edge to the middle of the next. No pixel's
    centre changes sides by that. Then vertices are left out, as long as the outline moves by no more than 0.35 px
    and the area that may change sides is at most `max_area_change` of the mask's area. In practice a sixth of that
    changes. The default keeps an IoU above 0.995 with a third of the vertices of exact contours on a canvas, and
    with a seventh on an image of 12 megapixels.

    Args:
        masks: The masks, each in a frame of its own.
        max_area_change: A fraction of each mask's area. 0 cuts corners only.

    Returns:
        The parts of each mask, in px of its frame. An empty mask has none.

    Raises:
        InvalidModel: There are more edges, parts, holes or vertices than objects have.
        DeadlineExceeded: The event's deadline passed.
    """
    outlined: list[MultiPolygon] = []
    vertices = rings = 0
    for batch in _batches(masks):
        contours = trace_contours(batch)
        if not len(contours.y):
            outlined += [[] for _ in batch]
            continue
        xy, starts = _outline(contours, max_area_change)
        vertices, rings = vertices + len(xy), rings + len(starts) - 1
        if vertices > MAX_VERTICES or rings > MAX_RINGS:
            raise InvalidModel(
                f"The outlines of {len(outlined) + len(batch)} of {len(masks)} segments have {vertices} vertices "
                f"(limit {MAX_VERTICES}) in {rings} parts and holes (limit {MAX_RINGS}): {NOISE_ADVICE}"
            )
        outlined += contours.multipolygons(xy, starts)
    return outlined


def _batches(masks: Sequence[Mask]) -> Iterator[Sequence[Mask]]:
    """Cut masks into batches of some `_BATCH_PIXELS`, so that the memory for their contours is bounded."""
    start = pixels = 0
    for index, mask in enumerate(masks):
        if pixels + mask.pixels.size > _BATCH_PIXELS and index > start:
            yield masks[start:index]
            start, pixels = index, 0
        pixels += mask.pixels.size
    yield masks[start:]


def image_polygons(masks: Sequence[Mask], letterbox: Letterbox) -> list[MultiPolygon]:
    """Outline masks in canvas px, in px of the image. What lies in the letterbox's padding is left out."""
    (height, width), (inner_height, inner_width) = letterbox.image_hw, letterbox.resized_hw
    left, top = letterbox.left, letterbox.top
    inside = [mask.cropped(left, top, left + inner_width, top + inner_height) for mask in masks]
    scale = np.array((width / inner_width, height / inner_height))
    return [[[(ring - (left, top)) * scale for ring in part] for part in parts] for parts in polygons(inside)]


def coordinates(parts: MultiPolygon, decimals: int = 2) -> list[list[list[list[float]]]]:
    """Return the coordinates of a GeoJSON MultiPolygon: nested lists of parts, rings, vertices, and x and y."""
    deadline.check()
    return [[ring.round(decimals).tolist() for ring in part] for part in parts]


def _outline(contours: Contours, max_area_change: float) -> tuple[Float64Array, IndexArray]:
    """Cut the corners of contours and leave out vertices, see `polygons`.

    An edge of one pixel, or one between two steps of one pixel, is replaced by its middle. Any other edge keeps
    two points, half a pixel away from its corners. The line from such a point to the next one, half a pixel beyond
    the corner, passes by every pixel's centre.

    Returns:
        (vertices, 2) xy of closed rings, and (rings + 1,) the first vertex of each ring and the number of all.
    """
    bounds = np.append(contours.starts, len(contours.y))
    after, before = np.arange(1, len(contours.y) + 1), np.arange(-1, len(contours.y) - 1)
    after[bounds[1:] - 1], before[contours.starts] = contours.starts, bounds[1:] - 1
    x1, x2, y1, y2 = contours.tail, contours.head, contours.y, contours.y[after]
    along, down = x2 - x1, y2 - y1
    short_along, short_down = np.abs(along) == 1, np.abs(down) == 1
    middle_along = short_along | ((down[before] == down) & short_down)
    middle_down = short_down | ((along[after] == along) & short_along)

    # Twice the coordinates, as integers: one or two points of each horizontal edge, and one or two of the vertical
    # edge after it.
    half_x, half_y = np.sign(along), np.sign(down)
    x = np.stack((np.where(middle_along, x1 + x2, 2 * x1 + half_x), 2 * x2 - half_x, 2 * x2, 2 * x2), axis=1)
    y = np.stack((2 * y1, 2 * y1, np.where(middle_down, y1 + y2, 2 * y1 + half_y), 2 * y2 - half_y), axis=1)
    kept = np.ones((len(x1), 4), bool)
    kept[:, 1], kept[:, 3] = ~middle_along, ~middle_down
    count = kept.sum(axis=1)
    xy, starts = close_rings(x[kept], y[kept], (np.cumsum(count) - count)[contours.starts])
    xy /= 2

    def mask_totals(of_edges: IndexArray) -> Float64Array:
        """Return for each ring the sum over all edges of its mask."""
        of_rings = np.add.reduceat(of_edges, contours.starts)
        return np.bincount(contours.owners, of_rings).astype(np.float64)[contours.owners]

    area_by_length = mask_totals(-along * y1) / mask_totals(np.abs(along) + np.abs(down))
    return _douglas_peucker(xy, starts, np.minimum(max_area_change * area_by_length, MAX_TOLERANCE_PX))


def _douglas_peucker(
    xy: Float64Array, starts: IndexArray, tolerances: Float64Array
) -> tuple[Float64Array, IndexArray]:
    """Simplify all rings at once: each step splits every segment at its vertex that is furthest from the chord.

    A ring has no ends to begin with, so it begins with four segments of about the same number of vertices.

    Args:
        xy: (vertices, 2) of closed rings.
        starts: (rings + 1,) the first vertex of each ring, and the number of all.
        tolerances: (rings,) the distance in px up to which vertices are left out.

    Returns:
        The vertices that remain, and their `starts`.
    """
    x, y = np.ascontiguousarray(xy.T)
    anchors = starts[:-1, None] + (np.diff(starts) - 1)[:, None] * np.arange(5) // 4
    kept = np.zeros(len(xy), bool)
    kept[anchors] = True
    begin, end, limit = anchors[:, :-1].ravel(), anchors[:, 1:].ravel(), tolerances.repeat(4)
    while True:
        deadline.check()
        (open_segments,) = np.nonzero(end - begin > 1)
        begin, end, limit = begin[open_segments], end[open_segments], limit[open_segments]
        if not len(begin):
            return xy[kept], np.append(0, np.cumsum(kept))[starts]
        counts = end - begin - 1  # of the vertices between the ends of each segment
        offsets = np.cumsum(counts) - counts
        between = np.arange(counts.sum()) + (begin + 1 - offsets).repeat(counts)
        chord_x, chord_y = x[end] - x[begin], y[end] - y[begin]
        # The distance from the chord, times the chord's length: a cross product.
        distances = chord_x.repeat(counts) * (y[between] - y[begin].repeat(counts))
        distances -= chord_y.repeat(counts) * (x[between] - x[begin].repeat(counts))
        np.abs(distances, out=distances)
        furthest = np.maximum.reduceat(distances, offsets)
        too_far = furthest > limit * np.hypot(chord_x, chord_y)
        maxima = np.flatnonzero(distances == furthest.repeat(counts))
        split = between[maxima[np.searchsorted(maxima, offsets[too_far])]]
        kept[split] = True
        begin, end = np.concatenate((begin[too_far], split)), np.concatenate((split, end[too_far]))
        limit = np.tile(limit[too_far], 2)
