"""Tiles: the grid equals SAHI's, walked step by step; it covers every pixel; invalid sizes are rejected."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.vision.arrays import SizeHW
from shared.vision.boxes.tiles import tile_count, tiles


def tiles_by_definition(image_hw: SizeHW, slice_hw: SizeHW, overlap: float) -> list[list[int]]:
    """Walk the slices until one reaches the image's edge; what reaches beyond it is moved back inside."""
    (height, width), (slice_height, slice_width) = image_hw, slice_hw
    grid, bottom, y = [], 0, 0
    while bottom < height:
        right, x, bottom = 0, 0, y + slice_height
        while right < width:
            right = x + slice_width
            x2, y2 = min(right, width), min(bottom, height)
            grid.append([max(x2 - slice_width, 0), max(y2 - slice_height, 0), x2, y2])
            x = right - int(overlap * slice_width)
        y = bottom - int(overlap * slice_height)
    return grid


@pytest.mark.parametrize(
    ("image_hw", "slice_hw", "overlap", "expected"),
    [
        pytest.param((1, 1), (512, 512), 0.2, [[0, 0, 1, 1]], id="one pixel"),
        pytest.param((512, 512), (512, 512), 0.2, [[0, 0, 512, 512]], id="one tile"),
        pytest.param((512, 513), (512, 512), 0.2, [[0, 0, 512, 512], [1, 0, 513, 512]], id="one pixel too wide"),
        pytest.param(
            (100, 922),
            (512, 512),
            0.2,
            [[0, 0, 512, 100], [410, 0, 922, 100]],
            id="two tiles fit with 102 px shared",
        ),
        pytest.param(
            (100, 923),
            (512, 512),
            0.2,
            [[0, 0, 512, 100], [410, 0, 922, 100], [411, 0, 923, 100]],
            id="one pixel wider than two tiles",
        ),
        pytest.param((4, 6), (4, 3), 0, [[0, 0, 3, 4], [3, 0, 6, 4]], id="no overlap"),
        pytest.param(
            (5, 6), (4, 3), 0, [[0, 0, 3, 4], [3, 0, 6, 4], [0, 1, 3, 5], [3, 1, 6, 5]], id="rows before columns"
        ),
        pytest.param(
            (2, 2),
            (1, 1),
            0.9999999999999999,
            [[0, 0, 1, 1], [1, 0, 2, 1], [0, 1, 1, 2], [1, 1, 2, 2]],
            id="overlap that rounds to 1",
        ),
    ],
)
def test_tiles_of_known_grids(
    image_hw: SizeHW, slice_hw: SizeHW, overlap: float, expected: list[list[int]]
) -> None:
    grid = tiles(image_hw, slice_hw, overlap)

    assert grid.tolist() == expected
    assert grid.dtype == np.int64
    assert tile_count(image_hw, slice_hw, overlap) == len(expected)


SIDE = st.integers(1, 900)
OVERLAP = st.one_of(st.sampled_from([0, 0.1, 0.2, 0.25, 0.5, 0.75]), st.floats(0, 0.9))


@given(image_hw=st.tuples(SIDE, SIDE), slice_hw=st.tuples(st.integers(20, 700), SIDE), overlap=OVERLAP)
def test_tiles_equal_those_of_the_definition(image_hw: SizeHW, slice_hw: SizeHW, overlap: float) -> None:
    slice_hw = slice_hw[0], max(slice_hw[1], 20)

    grid = tiles(image_hw, slice_hw, overlap)

    assert grid.tolist() == tiles_by_definition(image_hw, slice_hw, overlap)
    assert tile_count(image_hw, slice_hw, overlap) == len(grid)


@given(image_hw=st.tuples(SIDE, SIDE), size=st.integers(40, 300), overlap=OVERLAP)
def test_tiles_cover_every_pixel_and_lie_in_the_image(image_hw: SizeHW, size: int, overlap: float) -> None:
    covered = np.zeros(image_hw, bool)

    for x1, y1, x2, y2 in tiles(image_hw, (size, size), min(overlap, 0.75)):
        assert (y2 - y1, x2 - x1) == (min(size, image_hw[0]), min(size, image_hw[1]))
        covered[y1:y2, x1:x2] = True

    assert covered.all()


def test_tile_count_makes_no_tiles() -> None:
    assert tile_count((10**9, 10**9), (1, 1), 0) == 10**18


@pytest.mark.parametrize("overlap", [-0.1, 1, 1.5, float("nan"), float("inf")])
@pytest.mark.parametrize("function", [tiles, tile_count])
def test_overlap_outside_0_to_1_is_rejected(
    function: Callable[[SizeHW, SizeHW, float], object], overlap: float
) -> None:
    with pytest.raises(ValueError, match=r"overlap=.* is invalid"):
        function((100, 100), (50, 50), overlap)


@pytest.mark.parametrize(
    ("image_hw", "slice_hw"), [((0, 9), (5, 5)), ((9, 0), (5, 5)), ((9, 9), (0, 5)), ((9, 9), (5, -1))]
)
@pytest.mark.parametrize("function", [tiles, tile_count])
def test_sizes_below_one_pixel_are_rejected(
    function: Callable[[SizeHW, SizeHW, float], object], image_hw: SizeHW, slice_hw: SizeHW
) -> None:
    with pytest.raises(ValueError, match="has no tiles"):
        function(image_hw, slice_hw, 0.2)
