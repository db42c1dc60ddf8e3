"""Segments: areas, outlines and pixels of the same masks agree, on a canvas and in the image."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.vision.arrays import BoolArray, SizeHW
from shared.vision.boxes.detections import Detections
from shared.vision.images.letterbox import Letterbox, letterbox
from shared.vision.masks.masks import Mask
from shared.vision.masks.prototypes import canvas_masks, image_masks
from shared.vision.masks.segments import Segments
from testing.outlines import polygon_area

CANVAS_HW = (64, 96)


def segments(masks: list[Mask], canvas: Letterbox | None = None) -> Segments:
    count = len(masks)
    boxes = np.zeros((count, 4), np.float32)
    return Segments(
        Detections(boxes, np.ones(count, np.float32), np.arange(count, dtype=np.int64)), tuple(masks), canvas
    )


def whole(mask: Mask, shape_hw: SizeHW) -> BoolArray:
    """Return the mask as an array of its whole frame."""
    out = np.zeros(shape_hw, bool)
    height, width = mask.pixels.shape
    out[mask.top : mask.top + height, mask.left : mask.left + width] = mask.pixels
    return out


def test_no_objects_have_no_areas_and_no_outlines() -> None:
    for canvas in (None, letterbox((30, 50), CANVAS_HW)):
        none = segments([], canvas)
        assert len(none) == len(none.polygons()) == len(none.in_image((30, 50))) == 0
        assert none.areas.shape == (0,)
        assert len(none[np.empty(0, np.intp)]) == 0


def test_masks_of_a_canvas_in_another_images_size_are_a_value_error() -> None:
    with pytest.raises(ValueError, match=r"image_hw=\(30, 51\) is not the size"):
        segments([], letterbox((30, 50), CANVAS_HW)).in_image((30, 51))


def test_indexed_segments_are_in_order_of_index() -> None:
    masks = [Mask(each, 0, np.ones((1, each), bool)) for each in (1, 2, 3)]
    some = segments(masks)[np.array([2, 0])]
    assert some.areas.tolist() == [3, 1]
    assert some.detections.class_ids.tolist() == [2, 0]


@pytest.mark.parametrize("image_hw", [(31, 33), (8, 12), (64, 96), (310, 480), (480, 310), (1000, 90)], ids=str)
def test_areas_are_in_image_px_at_either_resolution(image_hw: SizeHW) -> None:
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
    tolerance = 0.15 * coarse * length + 1
    assert by_canvas == pytest.approx(by_image, abs=tolerance)
    for each in (canvas, image):
        [parts] = each.polygons()
        assert polygon_area(parts) == pytest.approx(each.areas[0], abs=tolerance)
        [mask] = each.in_image(image_hw)
        assert mask.area == pytest.approx(each.areas[0], abs=tolerance)
        corners = np.concatenate([ring for part in parts for ring in part])
        assert (corners >= 0).all()
        assert (corners <= image_hw[::-1]).all()


@pytest.mark.parametrize("image_hw", [(10, 100), (100, 10)], ids=str)
def test_padding_of_canvas_is_left_out(image_hw: SizeHW) -> None:
    frame = letterbox(image_hw, CANVAS_HW)
    everywhere = segments([Mask(0, 0, np.ones(CANVAS_HW, bool))], frame)
    assert everywhere.areas.tolist() == pytest.approx([1000])
    assert polygon_area(everywhere.polygons()[0]) == pytest.approx(1000, rel=0.02)
    assert everywhere.in_image(image_hw)[0].area == pytest.approx(1000, rel=0.02)
    beside = segments([Mask(0, 0, np.ones((2, 2), bool))], frame)
    assert beside.areas.tolist() == [0]
    assert beside.polygons() == [[]]
    assert beside.in_image(image_hw)[0].area == 0


@given(st.integers(0, 10_000), st.sampled_from([(64, 96), (32, 48), (128, 192), (320, 480), (30, 90)]))
def test_canvas_masks_cover_same_area_in_image(seed: int, image_hw: SizeHW) -> None:
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
