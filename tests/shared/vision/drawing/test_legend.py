"""The legend: its rows, its size, its corner and its colours."""

import time

import numpy as np
import pytest

from shared.vision.arrays import SizeHW
from shared.vision.drawing.colours import class_colour, diverging_palette, segment_colour
from shared.vision.drawing.legend import LegendRow, emptiest_corner, legend
from shared.vision.masks.masks import Mask

LABELS = [LegendRow(f"label {index}", str(index), class_colour(index)) for index in range(80)]
NO_BOXES = np.empty((0, 4), np.float32)


def test_legend_without_rows_is_none() -> None:
    assert legend([], (1000, 1000), 1.0) is None


@pytest.mark.parametrize("max_hw", [(0, 0), (1, 1), (10, 500), (500, 10), (10, 10)], ids=str)
def test_legend_without_space_for_a_row_is_none(max_hw: SizeHW) -> None:
    assert legend(LABELS, max_hw, 1.0) is None


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param(LABELS, id="many rows"),
        pytest.param(LABELS[:1], id="one row"),
        pytest.param([LegendRow("x" * 500, "1")], id="long name"),
        pytest.param([LegendRow("x" * 500, "1" * 20, class_colour(0))], id="long name and value"),
    ],
)
@pytest.mark.parametrize("unit", [0.48, 1, 6])
@pytest.mark.parametrize("max_hw", [(90, 200), (180, 240), (720, 960), (3000, 4000)], ids=str)
def test_legend_is_no_larger_than_its_maximum(rows: list[LegendRow], unit: float, max_hw: SizeHW) -> None:
    patch = legend(rows, max_hw, unit)

    assert patch is None or (patch.shape[0] <= max_hw[0] and patch.shape[1] <= max_hw[1] and patch.shape[2] == 4)


@pytest.mark.timeout(10)
def test_empty_name_in_narrow_picture_gives_no_legend() -> None:
    assert legend([LegendRow("", "12")], (200, 30), 1.0) is None


@pytest.mark.timeout(60)
def test_very_long_name_is_shortened_in_linear_time() -> None:
    started = time.perf_counter()
    patch = legend([LegendRow("W" * 50_000, "12")], (200, 300), 1.0)
    elapsed = time.perf_counter() - started

    assert patch is not None
    assert patch.shape[1] <= 300
    assert elapsed < 5  # a scan for the length takes minutes


@pytest.mark.parametrize("max_width", range(80, 260, 7))
def test_long_name_is_shortened_to_longest_beginning_that_fits(max_width: int) -> None:
    name = "Tomate, Typ AV 'Wirbel'"

    patch = legend([LegendRow(name, "1")], (200, max_width), 1.0)

    shortened = (legend([LegendRow(f"{name[:n]}…", "1")], (200, 10_000), 1.0) for n in range(1, len(name)))
    widths = [each.shape[1] for each in shortened if each is not None]
    assert patch is not None
    assert patch.shape[1] == max(width for width in widths if width <= max_width)


def test_last_row_replaces_rows_that_do_not_fit() -> None:
    twelve, eighty = legend(LABELS[:12], (2000, 2000), 1.0), legend(LABELS, (2000, 2000), 1.0)
    assert twelve is not None
    assert eighty is not None
    assert twelve.shape[0] == eighty.shape[0]
    row = twelve.shape[0] // 12
    assert (twelve[: -2 * row, : row // 2] == eighty[: -2 * row, : row // 2]).all()
    colours = [(each[..., :3] == class_colour(11)).all(axis=2).any() for each in (twelve, eighty)]
    assert colours == [True, True]
    assert (eighty[-row - 4 : -4, :30, :3] == twelve[-row - 4 : -4, :30, :3]).all() == False  # noqa: E712


def test_row_is_shaded_up_to_its_share() -> None:
    half = legend([LegendRow("healthy", "50%", share=0.5), LegendRow("dry", "0%")], (500, 500), 1.0)
    assert half is not None
    middle = half[half.shape[0] // 4]
    assert (middle[8] != half[half.shape[0] * 3 // 4, 8]).any()
    assert (middle[-4] == half[half.shape[0] * 3 // 4, -4]).all()


@pytest.mark.parametrize(
    ("boxes", "masks", "corner"),
    [
        pytest.param([], [], (5, 75), id="empty picture: lower left"),
        pytest.param([(0, 60, 40, 100)], [], (5, 5), id="box in the lower left: upper left"),
        pytest.param([(0, 60, 40, 100), (0, 0, 10, 10)], [], (65, 75), id="boxes on the left: lower right"),
        pytest.param([(0, 0, 100, 100)], [(0, 50, 100, 50)], (5, 5), id="mask in the lower half: upper left"),
        pytest.param([], [(0, 0, 60, 100)], (65, 75), id="mask on the left: lower right"),
        pytest.param([(90, 90, 99, 99)], [(0, 0, 60, 100)], (65, 5), id="boxes count before masks: upper right"),
    ],
)
def test_emptiest_corner_hides_fewest_boxes_then_fewest_mask_pixels(
    boxes: list[tuple[int, int, int, int]], masks: list[tuple[int, int, int, int]], corner: tuple[int, int]
) -> None:
    position = emptiest_corner(
        (100, 100),
        (20, 30, 4),
        np.array(boxes, np.float32).reshape(-1, 4),
        [Mask(x, y, np.ones((h, w), bool)) for x, y, w, h in masks],
        margin=5,
    )

    assert position == corner


def test_legend_as_large_as_picture_begins_at_its_corner() -> None:
    assert emptiest_corner((20, 30), (20, 30, 4), NO_BOXES, (), margin=5) == (0, 0)


def test_segment_colours_are_no_class_colours() -> None:
    assert not {class_colour(each) for each in range(100)} & {segment_colour(each) for each in range(100)}


@pytest.mark.parametrize("count", range(9))
def test_diverging_palette_has_distinct_colours_from_cold_to_warm(count: int) -> None:
    colours = diverging_palette(count)
    assert len(set(colours)) == count
    assert [red - blue for red, _, blue in colours] == sorted(red - blue for red, _, blue in colours)
