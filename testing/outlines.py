"""Makes polygons along pixel edges, with the areas of the masks to the pixel, and measures polygons."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shared.vision.masks.contours import MultiPolygon, Ring, close_rings, trace_contours
from shared.vision.masks.masks import Mask


def exact_polygons(masks: Sequence[Mask]) -> list[MultiPolygon]:
    """Return the contours of each mask with every corner, before corners are cut and vertices left out."""
    contours = trace_contours(masks)
    if not len(contours.y):
        return [[] for _ in masks]
    x = np.stack((contours.tail, contours.head), axis=1).ravel()
    return contours.multipolygons(*close_rings(x, contours.y.repeat(2), 2 * contours.starts))


def ring_area(ring: Ring) -> float:
    """Return the area inside a ring by the shoelace formula, negative for a hole."""
    (x1, y1), (x2, y2) = ring[:-1].T, ring[1:].T
    return float((x1 * y2 - x2 * y1).sum() / 2)


def polygon_area(parts: MultiPolygon) -> float:
    """Return the area of all parts without their holes."""
    return sum(ring_area(ring) for part in parts for ring in part)
