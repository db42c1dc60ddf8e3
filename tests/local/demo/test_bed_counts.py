from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from local.demo.bed_counts import BedCount, count_per_bed

Ring = Sequence[tuple[float, float]]
Box = tuple[float, float, float, float]

NORTH, SOUTH = ((0, 0), (400, 0), (400, 100), (0, 100)), ((0, 140), (400, 140), (400, 240), (0, 240))
PLANTS = [(10, 10, 30, 30), (200, 50, 220, 70), (390, 80, 400, 100), (10, 150, 30, 170)]


def segment(objects: int, *rings: Ring) -> dict[str, Any]:
    return {
        "polygons": [[list(map(list, ring)) for ring in rings]],
        "counts": {"plant": objects} if objects else {},
    }


def count(
    segments: Sequence[dict[str, Any]], polygons: Sequence[Ring] = (NORTH, SOUTH), plants: Sequence[Box] = PLANTS
) -> list[BedCount]:
    return count_per_bed(
        segments,
        [np.array(polygon, np.float32) for polygon in polygons],
        np.array(plants, np.float32).reshape(-1, 4),
        size_wh=(400, 300),
    )


@pytest.mark.parametrize(
    ("segments", "counted", "segment_counts"),
    [
        pytest.param([], [0, 0], [0, 0], id="no segments"),
        pytest.param([segment(3, NORTH), segment(1, SOUTH)], [3, 1], [1, 1], id="one segment in each bed"),
        pytest.param([segment(1, SOUTH), segment(3, NORTH)], [3, 1], [1, 1], id="segments in another order"),
        pytest.param([segment(0, NORTH)], [0, 0], [1, 0], id="segment without objects"),
        pytest.param(
            [segment(2, (*NORTH[:1], (200, 0), (200, 100), *NORTH[3:])), segment(1, NORTH)],
            [3, 0],
            [2, 0],
            id="bed in two segments",
        ),
        pytest.param(
            [segment(9, ((0, 102), (400, 102), (400, 138), (0, 138)))],
            [0, 0],
            [0, 0],
            id="segment between the beds",
        ),
        pytest.param(
            [segment(4, ((0, 0), (400, 0), (400, 240), (0, 240)))], [0, 0], [0, 0], id="segment over two beds"
        ),
        pytest.param(
            [segment(4, ((0, 0), (400, 0), (400, 240), (0, 240)), ((0, 101), (0, 239), (399, 239), (399, 101)))],
            [4, 0],
            [1, 0],
            id="segment over two beds with a hole in one",
        ),
    ],
)
def test_segment_is_counted_in_the_bed_that_contains_most_of_it(
    segments: list[dict[str, Any]], counted: list[int], segment_counts: list[int]
) -> None:
    assert count(segments) == [
        BedCount("bed 1", 3, counted[0], segment_counts[0]),
        BedCount("bed 2", 1, counted[1], segment_counts[1]),
    ]


def test_image_without_beds_has_no_counts() -> None:
    assert count([segment(3, NORTH)], polygons=()) == []


def test_bed_without_actual_objects_has_zero_actual() -> None:
    assert count([segment(1, NORTH)], plants=[]) == [BedCount("bed 1", 0, 1, 1), BedCount("bed 2", 0, 0, 0)]
