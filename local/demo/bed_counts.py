"""Compare the number of objects counted in each bed with the ground truth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from shared.vision.arrays import BoolArray, Float32Array, SizeHW

GRID_PX = 800  # longer side of the grid on which areas are compared; a path between two beds is wider than a cell


@dataclass(frozen=True)
class BedCount:
    """The objects in one bed of the ground truth.

    Attributes:
        label: The bed's name.
        actual: How many objects of the ground truth are in the bed.
        counted: How many objects the result counts there.
        segments: How many detected segments lie mostly in the bed.
    """

    label: str
    actual: int
    counted: int
    segments: int


def count_per_bed(
    segments: Sequence[Mapping[str, Any]],
    polygons: Sequence[Float32Array],
    boxes_xyxy: Float32Array,
    *,
    size_wh: tuple[int, int],
) -> list[BedCount]:
    """Return the counts for each bed of the ground truth.

    A segment belongs to the bed in which more than half of it lies, or to none. An object belongs to the bed that
    contains its centre.

    Args:
        segments: The segments of a result document, each with its `counts`.
        polygons: The outline of each bed, (k, 2) image px.
        boxes_xyxy: The objects of the ground truth, (n, 4) image px.
        size_wh: The image's width and height.
    """
    scale = GRID_PX / max(size_wh)
    shape_hw = round(size_wh[1] * scale), round(size_wh[0] * scale)
    beds = [_filled([[polygon * scale]], shape_hw) for polygon in polygons]
    bed_indices = [_containing_bed(_filled(_rings(each, scale), shape_hw), beds) for each in segments]
    centres = (boxes_xyxy[:, :2] + boxes_xyxy[:, 2:]) / 2
    columns, rows = np.minimum((centres * scale).astype(int), np.array(shape_hw)[::-1] - 1).T
    counted = [0] * len(beds)
    for segment, bed_index in zip(segments, bed_indices, strict=True):
        if bed_index is not None:
            counted[bed_index] += sum(segment["counts"].values())
    return [
        BedCount(f"bed {index + 1}", int(bed[rows, columns].sum()), counted[index], bed_indices.count(index))
        for index, bed in enumerate(beds)
    ]


def _containing_bed(segment: BoolArray, beds: Sequence[BoolArray]) -> int | None:
    """Return the index of the bed that contains more than half of the segment."""
    areas = [np.count_nonzero(segment & bed) for bed in beds]
    best = int(np.argmax(areas)) if areas else 0
    return best if areas and 2 * areas[best] > np.count_nonzero(segment) else None


def _rings(segment: Mapping[str, Any], scale: float) -> list[list[Float32Array]]:
    """Return the polygons of a segment in a result document, each an outer ring and its holes."""
    return [
        [np.array(ring, np.float32).reshape(-1, 2) * np.float32(scale) for ring in polygon]
        for polygon in segment["polygons"]
    ]


def _filled(polygons: Sequence[Sequence[Float32Array]], shape_hw: SizeHW) -> BoolArray:
    """Rasterise polygons, each an outer ring and its holes, into a mask of that shape."""
    image = Image.new("1", (shape_hw[1], shape_hw[0]))
    pen = ImageDraw.Draw(image)
    for outer, *holes in polygons:
        pen.polygon([(x, y) for x, y in outer.tolist()], 1)
        for hole in holes:
            pen.polygon([(x, y) for x, y in hole.tolist()], 0)
    return np.asarray(image)
