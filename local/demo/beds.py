"""Counts what was found in each bed against what is really there. Pure; it knows neither pictures nor storage."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from shared.vision.arrays import BoolArray, Float32Array, SizeHW

GRID_PX = 800  # the longer side on which areas are compared: as fine as a path between beds has to be


@dataclass(frozen=True)
class Bed:
    """One that is really there. `segments`: how many segments that were found lie in it for the most part."""

    label: str
    there: int
    found: int
    segments: int


def counted(
    segments: Sequence[Mapping[str, Any]],
    polygons: Sequence[Float32Array],
    boxes_xyxy: Float32Array,
    *,
    size_wh: tuple[int, int],
) -> list[Bed]:
    """`segments` as in a result document that has counted; polygons (k, 2) and boxes (n, 4) are the truth.

    A segment belongs to the bed that it covers most of; what lies between beds, to none. An object belongs to
    the bed that its middle is in.
    """
    scale = GRID_PX / max(size_wh)
    shape_hw = round(size_wh[1] * scale), round(size_wh[0] * scale)
    beds = [_filled([[polygon * scale]], shape_hw) for polygon in polygons]
    homes = [_home(_filled(_rings(each, scale), shape_hw), beds) for each in segments]
    middles = (boxes_xyxy[:, :2] + boxes_xyxy[:, 2:]) / 2
    columns, rows = np.minimum((middles * scale).astype(int), np.array(shape_hw)[::-1] - 1).T
    found = [0] * len(beds)
    for each, home in zip(segments, homes, strict=True):
        if home is not None:
            found[home] += sum(each["counts"].values())
    return [
        Bed(f"bed {place + 1}", int(bed[rows, columns].sum()), found[place], homes.count(place))
        for place, bed in enumerate(beds)
    ]


def _home(segment: BoolArray, beds: Sequence[BoolArray]) -> int | None:
    """Which bed holds more than half of it."""
    shares = [np.count_nonzero(segment & bed) for bed in beds]
    best = int(np.argmax(shares)) if shares else 0
    return best if shares and 2 * shares[best] > np.count_nonzero(segment) else None


def _rings(segment: Mapping[str, Any], scale: float) -> list[list[Float32Array]]:
    """The parts of a segment, each an outer ring and its holes, as a result document has them."""
    return [
        [np.array(ring, np.float32).reshape(-1, 2) * np.float32(scale) for ring in part]
        for part in segment["polygons"]
    ]


def _filled(parts: Sequence[Sequence[Float32Array]], shape_hw: SizeHW) -> BoolArray:
    picture = Image.new("1", (shape_hw[1], shape_hw[0]))
    pen = ImageDraw.Draw(picture)
    for outer, *holes in parts:
        pen.polygon([(x, y) for x, y in outer.tolist()], 1)
        for hole in holes:
            pen.polygon([(x, y) for x, y in hole.tolist()], 0)
    return np.asarray(picture)
