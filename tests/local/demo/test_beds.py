"""Which bed a found segment belongs to, and what is counted in each."""

import numpy as np
import pytest

from local.demo.beds import Bed, counted

NORTH, SOUTH = ((0, 0), (400, 0), (400, 100), (0, 100)), ((0, 140), (400, 140), (400, 240), (0, 240))
PLANTS = [(10, 10, 30, 30), (200, 50, 220, 70), (390, 80, 400, 100), (10, 150, 30, 170)]


def segment(count, *rings):
    return {"polygons": [[list(map(list, ring)) for ring in rings]], "counts": {"plant": count} if count else {}}


def beds(segments, polygons=(NORTH, SOUTH), plants=PLANTS):
    return counted(
        segments,
        [np.array(polygon, np.float32) for polygon in polygons],
        np.array(plants, np.float32).reshape(-1, 4),
        size_wh=(400, 300),
    )


@pytest.mark.parametrize(
    ("segments", "found", "pieces"),
    [
        pytest.param([], [0, 0], [0, 0], id="no segment"),
        pytest.param([segment(3, NORTH), segment(1, SOUTH)], [3, 1], [1, 1], id="one each"),
        pytest.param([segment(1, SOUTH), segment(3, NORTH)], [3, 1], [1, 1], id="in any order"),
        pytest.param([segment(0, NORTH)], [0, 0], [1, 0], id="an empty one"),
        pytest.param(
            [segment(2, (*NORTH[:1], (200, 0), (200, 100), *NORTH[3:])), segment(1, NORTH)],
            [3, 0],
            [2, 0],
            id="a bed in two pieces",
        ),
        pytest.param([segment(9, ((0, 102), (400, 102), (400, 138), (0, 138)))], [0, 0], [0, 0], id="on the path"),
        pytest.param([segment(4, ((0, 0), (400, 0), (400, 240), (0, 240)))], [0, 0], [0, 0], id="two beds as one"),
        pytest.param(
            [segment(4, ((0, 0), (400, 0), (400, 240), (0, 240)), ((0, 101), (0, 239), (399, 239), (399, 101)))],
            [4, 0],
            [1, 0],
            id="but for a hole",
        ),
    ],
)
def test_segments_belong_to_the_bed_that_holds_most_of_them(segments, found, pieces):
    assert beds(segments) == [
        Bed("bed 1", 3, found[0], pieces[0]),
        Bed("bed 2", 1, found[1], pieces[1]),
    ]


def test_where_there_is_no_bed_nothing_is_counted():
    assert beds([segment(3, NORTH)], polygons=()) == []


def test_a_bed_in_which_nothing_grows():
    assert beds([segment(1, NORTH)], plants=[]) == [Bed("bed 1", 0, 1, 1), Bed("bed 2", 0, 0, 0)]
