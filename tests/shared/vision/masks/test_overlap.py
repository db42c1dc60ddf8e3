"""Overlap of masks: unions, intersection over the smaller area, groups and neighbours."""

import numpy as np
import pytest

from shared.errors import DeadlineExceeded
from shared.runtime import deadline
from shared.vision.arrays import BoolArray, Float32Array
from shared.vision.masks.masks import Mask
from shared.vision.masks.overlap import adjacent_masks, first_covering, group_overlapping, mask_ios, union


def rectangle(x1: int, y1: int, x2: int, y2: int) -> Mask:
    return Mask(x1, y1, np.ones((y2 - y1, x2 - x1), bool))


def bounds(mask: Mask) -> tuple[int, int, int, int]:
    height, width = mask.pixels.shape
    return mask.left, mask.top, mask.left + width, mask.top + height


@pytest.mark.parametrize(
    ("masks", "left", "top", "rows"),
    [
        pytest.param([rectangle(3, 4, 4, 5)], 3, 4, [[1]], id="one mask"),
        pytest.param([rectangle(1, 1, 3, 2), rectangle(2, 0, 3, 2)], 1, 0, [[0, 1], [1, 1]], id="overlapping"),
        pytest.param([rectangle(0, 0, 1, 1), rectangle(3, 0, 4, 1)], 0, 0, [[1, 0, 0, 1]], id="separate"),
        pytest.param([rectangle(9, 9, 9, 9), rectangle(3, 0, 4, 1)], 3, 0, [[1]], id="one of them empty"),
    ],
)
def test_union_has_pixels_of_all_masks(masks: list[Mask], left: int, top: int, rows: list[list[int]]) -> None:
    combined = union(masks)

    assert (combined.left, combined.top) == (left, top)
    np.testing.assert_array_equal(combined.pixels, np.array(rows, bool))


def test_union_of_empty_masks_is_empty() -> None:
    assert union([rectangle(1, 2, 4, 2), rectangle(4, 4, 4, 4)]).area == 0


@pytest.mark.parametrize(
    ("first", "second", "ios"),
    [
        pytest.param((0, 0, 10, 10), (0, 0, 10, 10), 1, id="same"),
        pytest.param((0, 0, 10, 10), (2, 2, 4, 4), 1, id="one inside the other"),
        pytest.param((0, 0, 10, 10), (5, 0, 10, 20), 0.5, id="half of each"),
        pytest.param((0, 0, 10, 10), (8, 0, 12, 5), 0.5, id="half of the smaller"),
        pytest.param((0, 0, 10, 10), (10, 0, 20, 10), 0, id="side by side"),
        pytest.param((0, 0, 10, 10), (4, 4, 4, 4), 0, id="empty"),
    ],
)
def test_mask_ios_is_intersection_over_smaller_area(
    first: tuple[int, int, int, int], second: tuple[int, int, int, int], ios: float
) -> None:
    assert mask_ios(rectangle(*first), rectangle(*second)) == ios
    assert mask_ios(rectangle(*second), rectangle(*first)) == ios


def test_mask_ios_of_interleaved_masks_is_zero() -> None:
    stripes = np.arange(6)[:, None] % 2 == np.zeros(6, int)

    assert mask_ios(Mask(0, 0, stripes), Mask(0, 0, ~stripes)) == 0


@pytest.mark.parametrize(
    ("class_ids", "firsts"),
    [
        pytest.param([0, 0, 0, 0], [0, 0, 0, 3], id="first and second are grouped through the third"),
        pytest.param([0, 0, 1, 0], [0, 1, 2, 3], id="third is of another class"),
    ],
)
def test_group_overlapping_gives_first_index_of_each_group(class_ids: list[int], firsts: list[int]) -> None:
    masks = [rectangle(0, 0, 30, 10), rectangle(50, 0, 80, 10), rectangle(25, 0, 55, 10), rectangle(0, 20, 9, 29)]

    assert group_overlapping(masks, np.array(class_ids, np.int64), 0.1).tolist() == firsts


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        pytest.param((20, 10, 40, 20), (20, 10, 25, 20), id="shares an edge"),
        pytest.param((15, 0, 40, 30), (15, 5, 25, 25), id="overlaps"),
        pytest.param((20, 20, 40, 40), None, id="touches at a corner only"),
        pytest.param((21, 10, 40, 20), None, id="a pixel away"),
        pytest.param((12, 12, 12, 12), None, id="empty"),
    ],
)
def test_adjacent_masks_are_cropped_to_reach(
    other: tuple[int, int, int, int], expected: tuple[int, int, int, int] | None
) -> None:
    masks = [rectangle(*other), rectangle(10, 10, 20, 20)]

    adjacent = adjacent_masks(masks, 1, reach=5)

    assert [bounds(mask) for mask in adjacent] == ([] if expected is None else [expected])


@pytest.mark.parametrize("seed", range(5))
def test_first_covering_mask_of_each_point_equals_that_of_one_mask_at_a_time(seed: int) -> None:
    rng = np.random.default_rng(seed)
    masks = [
        Mask(left, top, rng.random((int(rng.integers(0, 12)), int(rng.integers(0, 12)))) < 0.6)
        for left, top in rng.integers(0, 30, (25, 2)).tolist()
    ]
    points = (rng.integers(-2, 90, (300, 2)) / 2).astype(np.float32)
    expected = np.full(300, -1)
    for index, mask in enumerate(masks):
        expected[(expected < 0) & mask.covers(points)] = index

    assert first_covering(masks, points).tolist() == expected.tolist()
    assert first_covering([], points).tolist() == [-1] * 300
    assert first_covering(masks, points[:0]).tolist() == []


def test_first_covering_looks_at_points_between_the_sides_of_a_mask_only(monkeypatch: pytest.MonkeyPatch) -> None:
    tested: list[int] = []

    def count_points(mask: Mask, points_xy: Float32Array) -> BoolArray:
        tested.append(len(points_xy))
        return np.zeros(len(points_xy), bool)

    monkeypatch.setattr(Mask, "covers", count_points)
    points = np.array([(x + 0.5, 5) for x in range(1000)], np.float32)

    first_covering([rectangle(x, 0, x + 20, 10) for x in range(0, 1000, 20)], points)

    assert sum(tested) == 1000


def test_first_covering_asks_the_deadline() -> None:
    with deadline.fail_after(-1), pytest.raises(DeadlineExceeded):
        first_covering([rectangle(0, 0, 9, 9)], np.array([[1, 1]], np.float32))
