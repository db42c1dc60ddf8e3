"""Segments: areas, outlines and pixels of the same masks agree, on a canvas and in the image."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import ImageTooLarge
from shared.vision.boxes.detections import Detections
from shared.vision.images.letterbox import letterbox
from shared.vision.masks.masks import Mask, canvas_masks, image_masks
from shared.vision.masks.polygons import polygons
from shared.vision.masks.segments import Segments, filled

CANVAS_HW = (64, 96)


def segments(masks, canvas=None):
    count = len(masks)
    boxes = np.zeros((count, 4), np.float32)
    return Segments(
        Detections(boxes, np.ones(count, np.float32), np.arange(count, dtype=np.int64)), tuple(masks), canvas
    )


def whole(mask, shape_hw):
    out = np.zeros(shape_hw, bool)
    height, width = mask.pixels.shape
    out[mask.top : mask.top + height, mask.left : mask.left + width] = mask.pixels
    return out


def area(parts):
    """Of the insides of outlines (n + 1, 2): the shoelace formula; a hole runs the other way round."""
    rings = [ring for part in parts for ring in part]
    return sum(float((ring[:-1, 0] * ring[1:, 1] - ring[1:, 0] * ring[:-1, 1]).sum() / 2) for ring in rings)


def spots(seed, shape_hw, density=0.5):
    """Parts and holes of all sizes."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((shape_hw[0] // 3 + 1, shape_hw[1] // 3 + 1)) < density
    return Mask(
        0, 0, coarse.repeat(3, 0).repeat(3, 1)[: shape_hw[0], : shape_hw[1]] ^ (rng.random(shape_hw) < 0.02)
    )


def test_no_objects_have_no_areas_and_no_outlines():
    for canvas in (None, letterbox((30, 50), CANVAS_HW)):
        none = segments([], canvas)
        assert len(none) == len(none.polygons()) == len(none.in_image((30, 50))) == 0
        assert none.areas.shape == (0,)
        assert len(none[np.empty(0, np.intp)]) == 0


def test_some_of_them_in_another_order():
    masks = [Mask(each, 0, np.ones((1, each), bool)) for each in (1, 2, 3)]
    some = segments(masks)[np.array([2, 0])]
    assert some.areas.tolist() == [3, 1]
    assert some.detections.class_ids.tolist() == [2, 0]


@pytest.mark.parametrize("image_hw", [(31, 33), (8, 12), (64, 96), (310, 480), (480, 310), (1000, 90)])
def test_areas_are_in_px_of_the_image_at_either_resolution(image_hw):
    """A disc with a hole, in the middle of the image."""
    frame = letterbox(image_hw, CANVAS_HW)
    y, x = np.mgrid[:32, :48] + 0.5
    away = np.hypot(x - 24, y - 16)
    reach = min(frame.resized_hw) / 2 / 2.2
    prototypes = np.minimum(reach - away, away - reach / 3)[None].astype(np.float32)
    boxes, one = np.array([[0, 0, 96, 64]], np.float32), np.ones((1, 1), np.float32)
    canvas = segments(canvas_masks(one, prototypes, boxes, CANVAS_HW), frame)
    image = segments(image_masks(one, prototypes, boxes, frame))
    # A ring a few px wide is as exact as its border allows: half a px of the coarser of the two.
    coarse = max(image_hw[0] / frame.resized_hw[0], 1)
    length = 2 * np.pi * (reach + reach / 3) * 2 * image_hw[0] / frame.resized_hw[0]
    [by_canvas], [by_image] = canvas.areas, image.areas
    unsure = 0.15 * coarse * length + 1
    assert by_canvas == pytest.approx(by_image, abs=unsure)
    for found in (canvas, image):
        [parts] = found.polygons()
        assert area(parts) == pytest.approx(found.areas[0], abs=unsure)
        [mask] = found.in_image(image_hw)
        assert mask.area == pytest.approx(found.areas[0], abs=unsure)
        corners = np.concatenate([ring for part in parts for ring in part])
        assert (corners >= 0).all()
        assert (corners <= image_hw[::-1]).all()


@pytest.mark.parametrize("image_hw", [(10, 100), (100, 10)])
def test_what_lies_in_the_padding_is_not_of_the_image(image_hw):
    frame = letterbox(image_hw, CANVAS_HW)
    everywhere = segments([Mask(0, 0, np.ones(CANVAS_HW, bool))], frame)
    assert everywhere.areas.tolist() == pytest.approx([1000])
    assert area(everywhere.polygons()[0]) == pytest.approx(1000, rel=0.02)
    assert everywhere.in_image(image_hw)[0].area == pytest.approx(1000, rel=0.02)
    beside = segments([Mask(0, 0, np.ones((2, 2), bool))], frame)
    assert beside.areas.tolist() == [0]
    assert beside.polygons() == [[]]
    assert beside.in_image(image_hw)[0].area == 0


# Pixels of outlines


def test_nothing_has_no_pixels():
    assert filled([], (5, 5)) == ()
    assert filled([[]], (5, 5))[0].area == 0


@given(st.integers(0, 10_000), st.tuples(st.integers(1, 40), st.integers(1, 40)), st.floats(0.1, 0.9))
def test_the_pixels_inside_exact_outlines_are_the_mask(seed, shape_hw, density):
    mask = spots(seed, shape_hw, density)
    [parts] = polygons([mask], max_area_change=None)
    np.testing.assert_array_equal(whole(filled([parts], shape_hw)[0], shape_hw), mask.pixels)


@given(st.integers(0, 10_000), st.tuples(st.integers(1, 40), st.integers(1, 40)))
def test_the_pixels_inside_cut_corners_are_the_mask_too(seed, shape_hw):
    """No pixel's centre changes sides."""
    mask = spots(seed, shape_hw)
    [parts] = polygons([mask], max_area_change=0)
    np.testing.assert_array_equal(whole(filled([parts], shape_hw)[0], shape_hw), mask.pixels)


def test_a_part_in_a_hole_of_another_is_filled_and_the_hole_is_not():
    pixels = np.ones((9, 9), bool)
    pixels[2:7, 2:7] = False
    pixels[4, 4] = True
    mask = Mask(3, 5, pixels)
    [parts] = polygons([mask], max_area_change=None)
    again = filled([parts], (20, 20))[0]
    assert (again.left, again.top) == (3, 5)
    np.testing.assert_array_equal(again.pixels, pixels)


def test_outlines_beyond_the_image_are_cut_at_its_border():
    [parts] = polygons([Mask(-4, -4, np.ones((30, 8), bool))], max_area_change=None)
    mask = filled([parts], (10, 10))[0]
    assert (mask.left, mask.top, mask.pixels.shape, mask.area) == (0, 0, (10, 4), 40)
    assert filled([[[ring + 50 for ring in part] for part in parts]], (10, 10))[0].area == 0


@given(st.integers(0, 10_000), st.sampled_from([(64, 96), (32, 48), (128, 192), (320, 480), (30, 90)]))
def test_masks_of_a_canvas_cover_the_same_in_the_image(seed, image_hw):
    rng = np.random.default_rng(seed)
    frame = letterbox(image_hw, CANVAS_HW)
    y, x = np.mgrid[:64, :96]
    pixels = np.hypot(x - rng.uniform(30, 60), y - rng.uniform(20, 44)) < rng.uniform(6, 16)
    [mask] = segments([Mask(0, 0, pixels)], frame).in_image(image_hw)
    rows = ((np.arange(image_hw[0]) + 0.5) * frame.resized_hw[0] / image_hw[0] + frame.top).astype(int)
    columns = ((np.arange(image_hw[1]) + 0.5) * frame.resized_hw[1] / image_hw[1] + frame.left).astype(int)
    expected = pixels[np.ix_(rows, columns)]
    differing = np.count_nonzero(whole(mask, image_hw) ^ expected)
    assert differing <= 0.1 * expected.sum() + 4  # stairs on one side, a line on the other


def test_more_pixels_of_masks_than_there_is_memory_for_are_refused_before_they_are_filled():
    whole = [[np.array([[0, 0], [8000, 0], [8000, 8000], [0, 8000], [0, 0]], np.float64)]]
    with pytest.raises(ImageTooLarge, match="576000000 px together"):
        filled([whole] * 9, (8000, 8000))
