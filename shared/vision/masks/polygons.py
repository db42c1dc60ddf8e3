"""Outlines of masks: the coordinates of GeoJSON MultiPolygons, parts that are an outer ring and its holes each.

A pixel is the square from (x, y) to (x + 1, y + 1), as for boxes. Pixels that touch at a corner only are two
parts. A ring ends where it begins and never touches itself; a hole may touch its outer ring, and parts may touch
each other, at single points. Outer rings run counterclockwise and holes clockwise in the sense of RFC 7946, which
is that of the numbers: the sum of x1 y2 - x2 y1 is positive. On a screen, where y points down, it looks reversed.

Edges along the rows of pixels are the elements here: found in all masks, paired at their ends, followed around.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from shared.vision.arrays import BoolArray, Float64Array, IndexArray
from shared.vision.images.letterbox import Letterbox
from shared.vision.masks.masks import Mask

Ring = Float64Array  # (k + 1, 2) xy, the last vertex is the first
MultiPolygon = list[list[Ring]]

DEFAULT_MAX_AREA_CHANGE: Final = 0.02
_MOST_TOLERANCE: Final = 0.35  # px; strands of outlines are 0.7 px apart at least, and never meet
_BAND: Final = 1 << 17


def polygons(
    masks: Sequence[Mask], *, max_area_change: float | None = DEFAULT_MAX_AREA_CHANGE
) -> list[MultiPolygon]:
    """The outline of each mask, in the px of its frame; no parts for an empty one.

    `most_change` None: rings along the edges of pixels, so that their area is the mask's to the pixel. Otherwise
    corners are cut, from the middle of one edge of a staircase to the middle of the next, by which no pixel's
    centre changes sides; then vertices are left out (Douglas-Peucker) as long as no more than `most_change` of the
    mask's area can change sides, nor the outline move by more than 0.35 px. In practice a sixth of that changes:
    the default keeps an IoU above 0.995, with a third of the vertices on a canvas and a seventh on 12 megapixels.
    """
    edges = _edges(masks)
    found: list[MultiPolygon] = [[] for _ in masks]
    if not len(edges.y):
        return found
    rings = _rings(edges)
    xy, starts = _corners(rings) if max_area_change is None else _outline(rings, max_area_change)
    place = np.array([(mask.left, mask.top) for mask in masks], np.float64)
    place[:, 1] -= edges.tops
    xy += place[rings.owners].repeat(np.diff(starts), axis=0)

    parts: list[list[Ring]] = []
    bounds = starts.tolist()
    for number, (owner, outer) in enumerate(zip(rings.owners.tolist(), rings.outers.tolist(), strict=True)):
        ring = xy[bounds[number] : bounds[number + 1]]
        if outer == number:
            parts.append([ring])
            found[owner].append(parts[-1])
        else:
            parts.append(parts[outer])
            parts[outer].append(ring)
    return found


def image_polygons(
    masks: Sequence[Mask], letterbox: Letterbox, *, max_area_change: float | None = DEFAULT_MAX_AREA_CHANGE
) -> list[MultiPolygon]:
    """The outlines of masks that lie on a canvas, in px of the image: without what lies in the padding."""
    (height, width), (inner_height, inner_width) = letterbox.image_hw, letterbox.resized_hw
    left, top = letterbox.left, letterbox.top
    inside = [mask.cropped(left, top, left + inner_width, top + inner_height) for mask in masks]
    scale = np.array((width / inner_width, height / inner_height))
    return [
        [[(ring - (left, top)) * scale for ring in part] for part in parts]
        for parts in polygons(inside, max_area_change=max_area_change)
    ]


def coordinates(parts: MultiPolygon, decimals: int = 2) -> list[list[list[list[float]]]]:
    """As JSON has it: parts, rings, vertices, x and y."""
    return [[ring.round(decimals).tolist() for ring in part] for part in parts]


@dataclass(frozen=True, slots=True, eq=False)
class _Edges:
    """n stretches between a pixel of a mask and one outside, above each other, as long as they go.

    In the order of rows and columns. Masks lie below each other, so that one array serves all; in each, x counts
    from its left.
    """

    x1: IndexArray  # (n,)
    x2: IndexArray  # (n,) > x1
    y: IndexArray  # (n,)
    below: npt.NDArray[np.int8]  # (n,) 1: the mask is below the edge; -1: above
    tops: IndexArray  # (masks,) the y where each mask begins


@dataclass(frozen=True, slots=True, eq=False)
class _Rings:
    """Edges in the order in which rings pass along them: from (`tail`, `y`) to (`head`, `y`), then up or down."""

    tail: IndexArray  # (n,)
    head: IndexArray  # (n,)
    y: IndexArray  # (n,)
    starts: IndexArray  # (rings,) the first edge of each
    owners: IndexArray  # (rings,) its mask
    outers: IndexArray  # (rings,) a hole's outer ring; an outer ring itself


def _edges(masks: Sequence[Mask]) -> _Edges:
    xs, ys, belows = [np.empty(0, np.intp)], [np.empty(0, np.intp)], [np.empty(0, np.int8)]
    most = max((max(_BAND, mask.pixels.shape[1]) for mask in masks if mask.pixels.size), default=0)
    scratch = np.empty(most + 8, np.int8)
    tops, next_top = [], 0
    for mask in masks:
        tops.append(next_top)
        pixels = mask.pixels.view(np.int8)
        height, width = pixels.shape
        step = _BAND // max(width, 1) or 1
        for first in range(0, height + 1 if pixels.size else 0, step):
            last = min(first + step, height + 1)
            size = (last - first) * width
            lines = scratch[:size].reshape(-1, width)  # pixels less those above
            lower = pixels[first:last]
            lines[: len(lower)] = lower
            lines[len(lower) :] = 0
            lines[first == 0 :] -= pixels[max(first - 1, 0) : last - 1]
            scratch[size : size + 8] = 0
            words = scratch[: size + -size % 8].view(np.int64)  # eight pixels each, and nearly all of them zero
            eights = np.flatnonzero(words != 0)
            signs = words.take(eights).view(np.int8)
            places = np.flatnonzero(signs != 0)
            at = eights[places >> 3] * 8 + (places & 7)
            y = at // width
            xs.append(at - y * width)
            ys.append(y + (first + next_top))
            belows.append(signs[places])
        next_top += height + 1

    x, y, below = np.concatenate(xs), np.concatenate(ys), np.concatenate(belows)
    begins = np.ones(len(x) + 1, bool)
    begins[1:-1] = (y[1:] != y[:-1]) | (x[1:] != x[:-1] + 1) | (below[1:] != below[:-1])
    bounds = np.flatnonzero(begins) if len(x) else np.zeros(1, np.intp)
    head, foot = bounds[:-1], bounds[1:] - 1
    return _Edges(x[head], x[foot] + 1, y[head], below[head], np.array(tops, np.intp))


def _rings(edges: _Edges) -> _Rings:
    """The ends of edges, in the order of columns and rows, are joined in pairs. Where four meet, two pixels touch
    at a corner: each keeps its own, unless that makes a ring touch itself; then it becomes two.
    """
    count = len(edges.y)
    ends = np.stack((edges.x1, edges.x2), axis=1).ravel()  # 2 i and 2 i + 1 are those of edge i
    by_column = np.argsort(ends.astype(np.min_scalar_type(ends.max())), kind="stable")
    touching = np.flatnonzero((edges.y[1:] == edges.y[:-1]) & (edges.x2[:-1] == edges.x1[1:]))
    rank = np.empty(2 * count, np.intp)
    rank[by_column] = np.arange(2 * count)
    at = rank[2 * touching + 1]  # the end of the edge on the left; that of the one on the right comes next
    forward = edges.below > 0
    _swap(by_column, at[forward[touching]])
    order, starts = _followed(by_column, forward)
    if len(touching):
        ring = np.empty(count, np.intp)
        ring[order] = np.searchsorted(starts, np.arange(count), side="right")
        _swap(by_column, at[ring[touching] == ring[touching + 1]])
        order, starts = _followed(by_column, forward)

    first = order[starts]
    owners = np.searchsorted(edges.tops, edges.y[first], side="right") - 1
    outers = np.where(forward[first], np.arange(len(starts)), -1)
    lonely = np.bincount(owners, forward[first], len(edges.tops)) == 1
    only = np.zeros(len(edges.tops), np.intp)
    only[owners[forward[first]]] = np.flatnonzero(forward[first])
    outers = np.where((outers < 0) & lonely[owners], only[owners], outers)
    if (outers < 0).any():
        ring = np.empty(count, np.intp)
        ring[order] = np.searchsorted(starts, np.arange(count), side="right") - 1
        upper, lower = by_column[0::2], by_column[1::2]
        side_x, side_y1, side_y2 = ends[upper], edges.y[upper >> 1], edges.y[lower >> 1]
        for hole in np.flatnonzero(outers < 0).tolist():  # to the left of the pixel above its first edge
            edge = first[hole]
            level = (side_y1 < edges.y[edge]) & (side_y2 >= edges.y[edge])
            beside = np.flatnonzero(level & (side_x <= edges.x1[edge]))
            outers[hole] = outers[ring[upper[beside[side_x[beside].argmax()]] >> 1]]

    ahead = forward[order]
    x1, x2 = edges.x1[order], edges.x2[order]
    return _Rings(np.where(ahead, x1, x2), np.where(ahead, x2, x1), edges.y[order], starts, owners, outers)


def _swap(order: IndexArray, at: IndexArray) -> None:
    order[at], order[at + 1] = order[at + 1], order[at]


def _followed(by_column: IndexArray, forward: BoolArray) -> tuple[IndexArray, IndexArray]:
    """Edges in the order of rings, and where each ring begins: at its uppermost, leftmost edge."""
    partner = np.empty_like(by_column)
    partner[by_column[0::2]], partner[by_column[1::2]] = by_column[1::2], by_column[0::2]
    following = (partner[2 * np.arange(len(forward)) + forward] >> 1).tolist()
    order: list[int] = []
    starts: list[int] = []
    for first in range(len(following)):
        if following[first] >= 0:
            starts.append(len(order))
            edge = first
            while (after := following[edge]) >= 0:
                order.append(edge)
                following[edge] = -1
                edge = after
    return np.array(order, np.intp), np.array(starts, np.intp)


def _corners(rings: _Rings) -> tuple[Float64Array, IndexArray]:
    """Every vertex of every ring, closed: (vertices, 2) xy, and where each ring begins and the last one ends."""
    x = np.stack((rings.tail, rings.head), axis=1).ravel()
    return _closed(x, rings.y.repeat(2), 2 * rings.starts)


def _closed(x: IndexArray, y: IndexArray, starts: IndexArray) -> tuple[Float64Array, IndexArray]:
    ends = np.append(starts[1:], len(x))
    again = np.insert(np.arange(len(x)), ends, starts)
    xy = np.empty((len(again), 2))
    xy[:, 0], xy[:, 1] = x[again], y[again]
    return xy, np.append(starts, len(x)) + np.arange(len(starts) + 1)


def _outline(rings: _Rings, max_area_change: float) -> tuple[Float64Array, IndexArray]:
    """Vertices as those of `_corners`, with corners cut and vertices left out: see `polygons`.

    Of an edge stays its middle, if it is a pixel long or a step between two such; its ends, half a pixel short of
    the corners, if not. A line from there to half a pixel beyond the corner passes by every pixel's centre.
    """
    bounds = np.append(rings.starts, len(rings.y))
    after, before = np.arange(1, len(rings.y) + 1), np.arange(-1, len(rings.y) - 1)
    after[bounds[1:] - 1], before[rings.starts] = rings.starts, bounds[1:] - 1
    x1, x2, y1, y2 = rings.tail, rings.head, rings.y, rings.y[after]
    along, down = x2 - x1, y2 - y1
    short_along, short_down = np.abs(along) == 1, np.abs(down) == 1
    middle_along = short_along | ((down[before] == down) & short_down)
    middle_down = short_down | ((along[after] == along) & short_along)

    # Twice the coordinates: one or two points of an edge along a row, one or two of the edge up or down after it.
    half_x, half_y = np.sign(along), np.sign(down)
    x = np.stack((np.where(middle_along, x1 + x2, 2 * x1 + half_x), 2 * x2 - half_x, 2 * x2, 2 * x2), axis=1)
    y = np.stack((2 * y1, 2 * y1, np.where(middle_down, y1 + y2, 2 * y1 + half_y), 2 * y2 - half_y), axis=1)
    kept = np.ones((len(x1), 4), bool)
    kept[:, 1], kept[:, 3] = ~middle_along, ~middle_down
    count = kept.sum(axis=1)
    xy, starts = _closed(x[kept], y[kept], (np.cumsum(count) - count)[rings.starts])
    xy /= 2

    def totals(of_edges: IndexArray) -> Float64Array:
        of_rings = np.add.reduceat(of_edges, rings.starts)
        return np.bincount(rings.owners, of_rings).astype(np.float64)[rings.owners]

    share = totals(-along * y1) / totals(np.abs(along) + np.abs(down))  # area by length, of each ring's mask
    return _simplified(xy, starts, np.minimum(max_area_change * share, _MOST_TOLERANCE))


def _simplified(xy: Float64Array, starts: IndexArray, tolerances: Float64Array) -> tuple[Float64Array, IndexArray]:
    """Douglas-Peucker on all rings at once, each from the four quarters of its vertices."""
    x, y = np.ascontiguousarray(xy.T)
    anchors = starts[:-1, None] + (np.diff(starts) - 1)[:, None] * np.arange(5) // 4
    kept = np.zeros(len(xy), bool)
    kept[anchors] = True
    begin, end, limit = anchors[:, :-1].ravel(), anchors[:, 1:].ravel(), tolerances.repeat(4)
    while True:
        (some,) = np.nonzero(end - begin > 1)
        begin, end, limit = begin[some], end[some], limit[some]
        if not len(begin):
            return xy[kept], np.append(0, np.cumsum(kept))[starts]
        counts = end - begin - 1  # of the vertices between
        offsets = np.cumsum(counts) - counts
        between = np.arange(counts.sum()) + (begin + 1 - offsets).repeat(counts)
        chord_x, chord_y = x[end] - x[begin], y[end] - y[begin]
        away = chord_x.repeat(counts) * (y[between] - y[begin].repeat(counts))
        away -= chord_y.repeat(counts) * (x[between] - x[begin].repeat(counts))
        np.abs(away, out=away)
        furthest = np.maximum.reduceat(away, offsets)
        far = furthest > limit * np.hypot(chord_x, chord_y)
        hits = np.flatnonzero(away == furthest.repeat(counts))
        split = between[hits[np.searchsorted(hits, offsets[far])]]
        kept[split] = True
        begin, end = np.concatenate((begin[far], split)), np.concatenate((split, end[far]))
        limit = np.tile(limit[far], 2)
