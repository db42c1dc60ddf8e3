"""The card: what it says, and that it never grows out of its room."""

import numpy as np
import pytest

from shared.vision.drawing.colours import class_colour, diverging_palette, segment_colour
from shared.vision.drawing.legend import LegendRow, least_covered_corner, legend
from shared.vision.masks.masks import Mask

LABELS = [LegendRow(f"label {index}", str(index), class_colour(index)) for index in range(80)]
NOTHING = np.empty((0, 4), np.float32)


def test_nothing_to_say_is_no_card():
    assert legend([], (1000, 1000), 1.0) is None


@pytest.mark.parametrize("room_hw", [(0, 0), (1, 1), (10, 500), (500, 10), (10, 10)])
def test_no_room_is_no_card(room_hw):
    assert legend(LABELS, room_hw, 1.0) is None


@pytest.mark.parametrize(
    "rows", [LABELS, LABELS[:1], [LegendRow("x" * 500, "1")], [LegendRow("x" * 500, "1" * 20, class_colour(0))]]
)
@pytest.mark.parametrize("unit", [0.48, 1, 6])
@pytest.mark.parametrize("room_hw", [(90, 200), (180, 240), (720, 960), (3000, 4000)])
def test_it_is_no_larger_than_its_room(rows, unit, room_hw):
    drawn = legend(rows, room_hw, unit)
    assert drawn is None or (drawn.shape[0] <= room_hw[0] and drawn.shape[1] <= room_hw[1] and drawn.shape[2] == 4)


def test_many_rows_are_cut_and_the_last_says_so():
    twelve, eighty = legend(LABELS[:12], (2000, 2000), 1.0), legend(LABELS, (2000, 2000), 1.0)
    assert twelve.shape[0] == eighty.shape[0]
    row = twelve.shape[0] // 12
    assert (twelve[: -2 * row, : row // 2] == eighty[: -2 * row, : row // 2]).all()
    colours = [(each[..., :3] == class_colour(11)).all(axis=2).any() for each in (twelve, eighty)]
    assert colours == [True, True]
    assert (eighty[-row - 4 : -4, :30, :3] == twelve[-row - 4 : -4, :30, :3]).all() == False  # noqa: E712


def test_a_share_is_shaded_as_far_as_it_goes():
    half = legend([LegendRow("healthy", "50%", share=0.5), LegendRow("dry", "0%")], (500, 500), 1.0)
    middle = half[half.shape[0] // 4]
    assert (middle[8] != half[half.shape[0] * 3 // 4, 8]).any()
    assert (middle[-4] == half[half.shape[0] * 3 // 4, -4]).all()


@pytest.mark.parametrize(
    ("boxes", "masks", "corner"),
    [
        ([], [], "lower left"),
        ([(0, 60, 40, 100)], [], "upper left"),
        ([(0, 60, 40, 100), (0, 0, 10, 10)], [], "lower right"),
        ([(0, 0, 100, 100)], [(0, 50, 100, 50)], "upper left"),
        ([], [(0, 0, 60, 100)], "lower right"),
        ([(90, 90, 99, 99)], [(0, 0, 60, 100)], "upper right"),
    ],
)
def test_the_corner_where_it_hides_least(boxes, masks, corner):
    found = least_covered_corner(
        (100, 100),
        (20, 30, 4),
        np.array(boxes, np.float32).reshape(-1, 4),
        [Mask(x, y, np.ones((h, w), bool)) for x, y, w, h in masks],
        margin=5,
    )
    assert (
        found
        == {"lower left": (5, 75), "upper left": (5, 5), "lower right": (65, 75), "upper right": (65, 5)}[corner]
    )


def test_a_card_as_large_as_the_picture_begins_where_it_begins():
    assert least_covered_corner((20, 30), (20, 30, 4), NOTHING, (), margin=5) == (0, 0)


def test_segments_have_colours_that_no_detection_has():
    assert not {class_colour(each) for each in range(100)} & {segment_colour(each) for each in range(100)}


@pytest.mark.parametrize("count", range(9))
def test_bands_have_colours_of_their_own_from_cold_to_warm(count):
    colours = diverging_palette(count)
    assert len(set(colours)) == count
    assert [red - blue for red, _, blue in colours] == sorted(red - blue for red, _, blue in colours)
