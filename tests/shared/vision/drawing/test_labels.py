"""Labels: patches of text, their cache, and positions that overlap no other text."""

import numpy as np

from shared.vision.drawing.colours import class_colour
from shared.vision.drawing.labels import (
    MAX_CACHED_PATCH_BYTES,
    MAX_CACHED_PATCHES,
    OccupiedAreas,
    label_patch,
    overlap_areas,
    place_above_box,
)


def test_small_patch_is_cached() -> None:
    assert label_patch("plant 90%", class_colour(0), 60) is label_patch("plant 90%", class_colour(0), 60)


def test_large_patch_is_not_cached() -> None:
    first, second = (label_patch("plant 90%" * 5, class_colour(0), 120) for _ in range(2))

    assert first.size * 4 > MAX_CACHED_PATCH_BYTES
    assert first is not second
    np.testing.assert_array_equal(first, second)


def test_cached_patches_take_at_most_32_mib() -> None:
    assert MAX_CACHED_PATCHES * MAX_CACHED_PATCH_BYTES <= 32 * 2**20


def test_second_label_at_same_box_is_not_placed() -> None:
    occupied = OccupiedAreas((100, 200), max_areas=2)

    assert place_above_box(occupied, (50, 40, 90, 90), (10, 30)) == (50, 30)
    assert place_above_box(occupied, (60, 40, 90, 90), (10, 30)) is None


def test_label_at_top_of_picture_lies_inside_the_box() -> None:
    assert place_above_box(OccupiedAreas((100, 200), max_areas=1), (190, 4, 199, 90), (10, 30)) == (170, 4)


def test_overlap_areas_of_each_position_with_each_box() -> None:
    positions = np.array(((0, 0), (5, 5)), np.float32)
    boxes = np.array(((0, 0, 10, 10), (8, 8, 20, 9), (50, 50, 60, 60)), np.float32)

    assert overlap_areas(positions, (4, 6), boxes).tolist() == [[24, 0, 0], [20, 3, 0]]
