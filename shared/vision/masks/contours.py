"""Traces the contours of masks: the closed rings along pixel edges between each object and its surroundings.

This is contour tracing (border following) with the hierarchy of outer rings and holes, as in Suzuki and Abe,
"Topological structural analysis of digitized binary images by border following" (1985), and OpenCV's
`findContours`. It differs in two ways. The rings run along the edges between pixels, so that their area is that of
the mask. And the work is vectorised: horizontal edges of all masks are found at once, their ends are connected in
pairs by vertical edges, and the rings are followed from edge to edge.

A pixel is the square from (x, y) to (x + 1, y + 1), as for boxes. Pixels are connected through a common edge, so
pixels that touch only at a corner are two parts. A ring never touches itself. A hole may touch its outer ring, and
parts may touch each other, but only at single points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from shared.errors import InvalidModel
from shared.runtime import deadline
from shared.vision.arrays import BoolArray, Float64Array, IndexArray
from shared.vision.masks.masks import NOISE_ADVICE, Mask

Ring = Float64Array  # (k + 1, 2) xy; the last vertex repeats the first
MultiPolygon = list[list[Ring]]  # parts of an object; each is an outer ring and its holes

MAX_EDGES: Final = 2**21  # of masks that are traced together, or of one that is large
MAX_RINGS_PER_SEGMENT: Final = 20_000
_MAX_STEPS: Final = 1 << 20  # edges of one pixel that are kept before they are joined
_BAND_PIXELS: Final = 1 << 17  # searched at a time, so that the scratch memory stays in the CPU's cache


@dataclass(frozen=True, slots=True, eq=False)
class Contours:
    """The rings of several masks, as the n horizontal edges that they pass, in the order in which they pass them.

    A ring goes along edge i from (`tail`, `y`) to (`head`, `y`), and then up or down to edge i + 1. Outer rings
    have the mask on their right as seen on a screen (y down), holes as well. The masks lie below each other in one
    frame, and x counts from the left of each mask: `offsets_xy` leads back to the frame of each mask.
    """

    tail: IndexArray  # (n,)
    head: IndexArray  # (n,)
    y: IndexArray  # (n,)
    starts: IndexArray  # (rings,) the index of the first edge of each ring
    owners: IndexArray  # (rings,) the index of the mask that each ring belongs to
    outers: IndexArray  # (rings,) the index of a hole's outer ring; an outer ring's own index
    offsets_xy: Float64Array  # (masks, 2)

    def multipolygons(self, xy: Float64Array, starts: IndexArray) -> list[MultiPolygon]:
        """Nest closed rings in parts and masks.

        Args:
            xy: (vertices, 2) the vertices of all rings, in the frame of the contours. It is moved in place.
            starts: (rings + 1,) the index of the first vertex of each ring, and the number of vertices.

        Returns:
            The parts of each mask, in px of its frame.
        """
        xy += self.offsets_xy[self.owners].repeat(np.diff(starts), axis=0)
        polygons: list[MultiPolygon] = [[] for _ in self.offsets_xy]
        parts: list[list[Ring]] = []  # for each ring the part that it belongs to
        bounds = starts.tolist()
        for index, (owner, outer) in enumerate(zip(self.owners.tolist(), self.outers.tolist(), strict=True)):
            ring = xy[bounds[index] : bounds[index + 1]]
            if outer == index:
                parts.append([ring])
                polygons[owner].append(parts[-1])
            else:
                parts.append(parts[outer])
                parts[outer].append(ring)
        return polygons


@dataclass(frozen=True, slots=True, eq=False)
class _Edges:
    """n horizontal edges between pixels of a mask and pixels outside, as long as possible, by row and column."""

    x1: IndexArray  # (n,)
    x2: IndexArray  # (n,) > x1
    y: IndexArray  # (n,)
    below: npt.NDArray[np.int8]  # (n,) 1 if the mask is below the edge, -1 if it is above
    tops: IndexArray  # (masks,) the y at which each mask begins


def trace_contours(masks: Sequence[Mask]) -> Contours:
    """Trace the contours of all masks.

    In each column of vertices, the ends of horizontal edges are connected in pairs by vertical edges, from the top
    down. Four ends meet where two pixels touch only at a corner. There each pixel is connected with its own edges,
    unless this makes a ring touch itself. Then the other connection splits the ring in two.

    Raises:
        InvalidModel: There are more edges, parts or holes than an object has.
        DeadlineExceeded: The event's deadline passed.
    """
    edges = _horizontal_edges(masks)
    offsets_xy = np.array([(mask.left, mask.top) for mask in masks], np.float64).reshape(-1, 2)
    offsets_xy[:, 1] -= edges.tops
    count = len(edges.y)
    if not count:
        none = np.empty(0, np.intp)
        return Contours(none, none, none, none, none, none, offsets_xy)
    ends_x = np.stack((edges.x1, edges.x2), axis=1).ravel()  # ends 2 i and 2 i + 1 belong to edge i
    by_column = np.argsort(ends_x.astype(np.min_scalar_type(ends_x.max())), kind="stable")
    touching = np.flatnonzero((edges.y[1:] == edges.y[:-1]) & (edges.x2[:-1] == edges.x1[1:]))
    rank = np.empty(2 * count, np.intp)
    rank[by_column] = np.arange(2 * count)
    corner = rank[2 * touching + 1]  # of the left edge's end; the right edge's end is the next one
    forward = edges.below > 0
    _swap_with_next(by_column, corner[forward[touching]])
    order, starts = _trace_rings(by_column, forward)
    deadline.check()
    if len(touching):
        ring = np.empty(count, np.intp)
        ring[order] = np.searchsorted(starts, np.arange(count), side="right")
        _swap_with_next(by_column, corner[ring[touching] == ring[touching + 1]])
        order, starts = _trace_rings(by_column, forward)

    owners = np.searchsorted(edges.tops, edges.y[order[starts]], side="right") - 1
    _ensure_rings_allowed(owners)
    deadline.check()
    outers = _outer_rings(masks, edges, order, starts, owners)
    ahead = forward[order]
    x1, x2 = edges.x1[order], edges.x2[order]
    tail, head = np.where(ahead, x1, x2), np.where(ahead, x2, x1)
    return Contours(tail, head, edges.y[order], starts, owners, outers, offsets_xy)


def close_rings(x: IndexArray, y: IndexArray, starts: IndexArray) -> tuple[Float64Array, IndexArray]:
    """Repeat the first vertex of each ring after its last one.

    Args:
        x: (vertices,).
        y: (vertices,).
        starts: (rings,) the index of the first vertex of each ring.

    Returns:
        The vertices (vertices + rings, 2) xy, and (rings + 1,) the first of each ring and the number of all.
    """
    ends = np.append(starts[1:], len(x))
    index = np.insert(np.arange(len(x)), ends, starts)
    xy = np.empty((len(index), 2))
    xy[:, 0], xy[:, 1] = x[index], y[index]
    return xy, np.append(starts, len(x)) + np.arange(len(starts) + 1)


def _horizontal_edges(masks: Sequence[Mask]) -> _Edges:
    """Find where a pixel differs from the one above it, a band of rows at a time, and join neighbours to edges.

    Raises:
        InvalidModel: There are more than `MAX_EDGES`.
        DeadlineExceeded: The event's deadline passed.
    """
    edges = [_join(np.empty(0, np.intp), np.empty(0, np.intp), np.empty(0, np.int8))]
    steps: list[tuple[IndexArray, IndexArray, npt.NDArray[np.int8]]] = []  # x, y, below; not joined yet
    step_count = edge_count = 0
    band_size = max((max(_BAND_PIXELS, mask.pixels.shape[1]) for mask in masks if mask.pixels.size), default=0)
    scratch = np.empty(band_size + 8, np.int8)
    tops, next_top = [], 0
    for mask in masks:
        tops.append(next_top)
        pixels = mask.pixels.view(np.int8)
        height, width = pixels.shape
        step = _BAND_PIXELS // max(width, 1) or 1
        for first in range(0, height + 1 if pixels.size else 0, step):
            last = min(first + step, height + 1)
            size = (last - first) * width
            differences = scratch[:size].reshape(-1, width)  # of pixels and those above them
            band = pixels[first:last]
            differences[: len(band)] = band
            differences[len(band) :] = 0
            differences[first == 0 :] -= pixels[max(first - 1, 0) : last - 1]
            scratch[size : size + 8] = 0
            # Nearly all differences are zero, so eight are compared at a time.
            as_int64 = scratch[: size + -size % 8].view(np.int64)
            eights = np.flatnonzero(as_int64 != 0)
            signs = as_int64.take(eights).view(np.int8)
            nonzero = np.flatnonzero(signs != 0)
            flat = eights[nonzero >> 3] * 8 + (nonzero & 7)
            y = flat // width
            steps.append((flat - y * width, y + (first + next_top), signs[nonzero]))
            step_count += len(flat)
            if step_count > _MAX_STEPS:
                edges.append(_join(*(np.concatenate(columns) for columns in zip(*steps, strict=True))))
                edge_count += len(edges[-1][0])
                steps, step_count = [], 0
                _ensure_edges_allowed(edge_count, len(masks))
                deadline.check()
        next_top += height + 1
    if steps:
        edges.append(_join(*(np.concatenate(columns) for columns in zip(*steps, strict=True))))
    x1, x2, y, below = (np.concatenate(columns) for columns in zip(*edges, strict=True))
    _ensure_edges_allowed(len(x1), len(masks))
    return _Edges(x1, x2, y, below, np.array(tops, np.intp))


def _join(
    x: IndexArray, y: IndexArray, below: npt.NDArray[np.int8]
) -> tuple[IndexArray, IndexArray, IndexArray, npt.NDArray[np.int8]]:
    """Join neighbouring edges of one pixel in a row; return x1, x2, y and `below` of the joined edges."""
    begins = np.ones(len(x) + 1, bool)
    begins[1:-1] = (y[1:] != y[:-1]) | (x[1:] != x[:-1] + 1) | (below[1:] != below[:-1])
    bounds = np.flatnonzero(begins) if len(x) else np.zeros(1, np.intp)
    leftmost, rightmost = bounds[:-1], bounds[1:] - 1
    return x[leftmost], x[rightmost] + 1, y[leftmost], below[leftmost]


def _ensure_edges_allowed(edges: int, masks: int) -> None:
    if edges > MAX_EDGES:
        raise InvalidModel(f"The outlines of {masks} segments have more than {MAX_EDGES} edges: {NOISE_ADVICE}")


def _ensure_rings_allowed(owners: IndexArray) -> None:
    largest = int(np.bincount(owners).max(initial=0))
    if largest > MAX_RINGS_PER_SEGMENT:
        raise InvalidModel(
            f"A segment has {largest} parts and holes, more than the limit of {MAX_RINGS_PER_SEGMENT}: "
            f"{NOISE_ADVICE}"
        )


def _swap_with_next(order: IndexArray, index: IndexArray) -> None:
    """Swap the elements at each index with those after them."""
    order[index], order[index + 1] = order[index + 1], order[index]


def _trace_rings(by_column: IndexArray, forward: BoolArray) -> tuple[IndexArray, IndexArray]:
    """Follow each ring from edge to edge, beginning at its uppermost, leftmost edge.

    Args:
        by_column: (2 n,) ends of edges; those at 2 k and 2 k + 1 are connected by a vertical edge.
        forward: (n,) whether the ring passes the edge from left to right.

    Returns:
        The edges (n,) in the order of rings, and (rings,) where in that order each ring begins.
    """
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


def _outer_rings(
    masks: Sequence[Mask], edges: _Edges, order: IndexArray, starts: IndexArray, owners: IndexArray
) -> IndexArray:
    """Return (rings,) the outer ring of each hole, and of each outer ring itself.

    A hole of a mask with a single outer ring belongs to that one. Any other hole belongs to the same outer ring as
    the nearest edge above its first edge: all pixels between them are of the mask.
    """
    first = order[starts]
    is_outer = edges.below[first] > 0
    outers = np.where(is_outer, np.arange(len(starts)), -1)
    has_one = np.bincount(owners, is_outer, len(edges.tops)) == 1
    only_outer = np.zeros(len(edges.tops), np.intp)
    only_outer[owners[is_outer]] = np.flatnonzero(is_outer)
    outers = np.where((outers < 0) & has_one[owners], only_outer[owners], outers)
    holes = np.flatnonzero(outers < 0)
    if len(holes):
        x, y = edges.x1[first[holes]], edges.y[first[holes]]
        y -= [
            _pixels_above(masks[owner].pixels[:row, column])
            for owner, row, column in zip(
                owners[holes].tolist(), (y - edges.tops[owners[holes]]).tolist(), x.tolist(), strict=True
            )
        ]
        width = int(edges.x2.max()) + 1
        above = np.searchsorted(edges.y * width + edges.x1, y * width + x, side="right") - 1
        ring = np.empty(len(order), np.intp)
        ring[order] = np.searchsorted(starts, np.arange(len(order)), side="right") - 1
        for hole, ring_above in zip(holes.tolist(), ring[above].tolist(), strict=True):
            outers[hole] = outers[ring_above]  # a ring that begins higher, so that its outer ring is known
    return outers


def _pixels_above(column: BoolArray) -> int:
    """Return how many of the last pixels of a column are of the mask, without one between them that is not."""
    outside = int(column[::-1].argmin())
    return outside if not column[-1 - outside] else len(column)
