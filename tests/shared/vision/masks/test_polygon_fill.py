"""Even-odd fill of polygons: the inverse of outlining masks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import ImageTooLarge
from shared.vision.arrays import BoolArray, SizeHW
from shared.vision.masks.masks import Mask
from shared.vision.masks.polygon_fill import fill_polygons
from shared.vision.masks.polygons import polygons
from testing.outlines import exact_polygons


def whole(mask: Mask, shape_hw: SizeHW) -> BoolArray:
    """Return the mask as an array of its whole frame."""
    out = np.zeros(shape_hw, bool)
    height, width = mask.pixels.shape
    out[mask.top : mask.top + height, mask.left : mask.left + width] = mask.pixels
    return out


def spots(seed: int, shape_hw: SizeHW, density: float = 0.5) -> Mask:
    """Make a random mask with parts and holes of all sizes."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((shape_hw[0] // 3 + 1, shape_hw[1] // 3 + 1)) < density
    return Mask(
        0, 0, coarse.repeat(3, 0).repeat(3, 1)[: shape_hw[0], : shape_hw[1]] ^ (rng.random(shape_hw) < 0.02)
    )


def test_no_outlines_have_no_pixels() -> None:
    assert fill_polygons([], (5, 5)) == ()
    assert fill_polygons([[]], (5, 5))[0].area == 0


@given(st.integers(0, 10_000), st.tuples(st.integers(1, 40), st.integers(1, 40)), st.floats(0.1, 0.9))
def test_filled_exact_outlines_are_the_mask(seed: int, shape_hw: SizeHW, density: float) -> None:
    mask = spots(seed, shape_hw, density)
    [parts] = exact_polygons([mask])
    np.testing.assert_array_equal(whole(fill_polygons([parts], shape_hw)[0], shape_hw), mask.pixels)


@given(st.integers(0, 10_000), st.tuples(st.integers(1, 40), st.integers(1, 40)))
def test_filled_outlines_with_cut_corners_are_the_mask(seed: int, shape_hw: SizeHW) -> None:
    """No pixel's centre changes sides."""
    mask = spots(seed, shape_hw)
    [parts] = polygons([mask], max_area_change=0)
    np.testing.assert_array_equal(whole(fill_polygons([parts], shape_hw)[0], shape_hw), mask.pixels)


def test_part_inside_hole_is_filled_and_hole_is_not() -> None:
    pixels = np.ones((9, 9), bool)
    pixels[2:7, 2:7] = False
    pixels[4, 4] = True
    mask = Mask(3, 5, pixels)
    [parts] = exact_polygons([mask])
    refilled = fill_polygons([parts], (20, 20))[0]
    assert (refilled.left, refilled.top) == (3, 5)
    np.testing.assert_array_equal(refilled.pixels, pixels)


def test_outlines_beyond_image_are_cut_at_its_border() -> None:
    [parts] = exact_polygons([Mask(-4, -4, np.ones((30, 8), bool))])
    mask = fill_polygons([parts], (10, 10))[0]
    assert (mask.left, mask.top, mask.pixels.shape, mask.area) == (0, 0, (10, 4), 40)
    assert fill_polygons([[[ring + 50 for ring in part] for part in parts]], (10, 10))[0].area == 0


def test_fill_polygons_over_pixel_limit_raises_before_allocation() -> None:
    whole = [[np.array([[0, 0], [8000, 0], [8000, 8000], [0, 8000], [0, 0]], np.float64)]]
    with pytest.raises(ImageTooLarge, match="576000000 px together"):
        fill_polygons([whole] * 9, (8000, 8000))
