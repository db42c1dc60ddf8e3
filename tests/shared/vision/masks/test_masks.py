"""Mask: cropped, shifted, sampled at points, and limited in number of pixels."""

import numpy as np
import pytest

from shared.errors import ImageTooLarge
from shared.vision.images.pixels import rgb_view
from shared.vision.masks.masks import MASKED_OUT_GREY, MAX_MASK_PIXELS, Mask, ensure_mask_pixels_allowed, mask_out


@pytest.mark.parametrize(
    ("rectangle", "left", "top", "rows"),
    [
        pytest.param((0, 0, 9, 9), 2, 3, [[1, 0, 1], [0, 1, 1]], id="around the mask"),
        pytest.param((3, 3, 9, 9), 3, 3, [[0, 1], [1, 1]], id="right part"),
        pytest.param((0, 0, 4, 4), 2, 3, [[1, 0]], id="upper left part"),
        pytest.param((7, 7, 9, 9), 5, 5, np.zeros((0, 0)).tolist(), id="beyond the mask"),
    ],
)
def test_cropped_mask_is_the_part_in_the_rectangle(
    rectangle: tuple[int, int, int, int], left: int, top: int, rows: list[list[int]]
) -> None:
    mask = Mask(2, 3, np.array([[1, 0, 1], [0, 1, 1]], bool)).cropped(*rectangle)

    assert (mask.left, mask.top) == (left, top)
    np.testing.assert_array_equal(mask.pixels, np.array(rows, bool).reshape(len(rows), -1 if rows else 0))


def test_shifted_mask_keeps_its_pixels() -> None:
    mask = Mask(2, 3, np.ones((1, 2), bool)).shifted(100, 200)

    assert (mask.left, mask.top, mask.area) == (102, 203, 2)


def test_covers_is_true_on_pixels_of_the_mask_only() -> None:
    mask = Mask(2, 3, np.array([[1, 0, 1], [0, 1, 1]], bool))
    points = np.array([(2, 3), (2.9, 3.9), (3, 3), (3.5, 4.5), (5, 4), (1.9, 3), (4, 2.9)], np.float32)

    assert mask.covers(points).tolist() == [True, True, False, True, False, False, False]


def test_mask_out_is_grey_where_the_mask_is_not() -> None:
    image = rgb_view(np.full((6, 8, 4), 200, np.uint8))

    crop = mask_out(image, Mask(2, 3, np.array([[1, 0, 1], [0, 1, 1]], bool)))

    grey = MASKED_OUT_GREY
    np.testing.assert_array_equal(crop[..., 0], [[200, grey, 200], [grey, 200, 200]])
    assert (image == 200).all()


def test_mask_pixels_up_to_the_maximum_are_allowed() -> None:
    ensure_mask_pixels_allowed(0)
    ensure_mask_pixels_allowed(MAX_MASK_PIXELS)

    with pytest.raises(ImageTooLarge):
        ensure_mask_pixels_allowed(MAX_MASK_PIXELS + 1)
