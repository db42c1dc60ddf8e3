"""Letterbox: geometry there and back, and resampling against the formula written out pixel by pixel."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.vision.images.letterbox import Letterbox, letterbox, minimal_canvas
from shared.vision.images.pixels import rgb_view
from shared.vision.images.resample import block_mean, resize

SIDES = st.integers(1, 3000)


def written_out(image, size_hw):
    """OpenCV's bilinear fixed point, one output pixel at a time, in Python's own integers."""

    def taps(length, target):
        for index in range(target):
            centre = np.float32((index + 0.5) * (length / target) - 0.5)
            first = int(np.floor(centre))
            weight = round(float((centre - np.float32(first)) * 2048))
            if first < 0 or first >= length - 1:
                first, weight = min(max(first, 0), length - 1), 0
            yield first, min(first + 1, length - 1), weight

    out = np.zeros((*size_hw, 3), np.uint8)
    columns = list(taps(image.shape[1], size_hw[1]))
    for y, (y0, y1, b) in enumerate(taps(image.shape[0], size_hw[0])):
        for x, (x0, x1, a) in enumerate(columns):
            for c in range(3):
                upper = (int(image[y0, x0, c]) * (2048 - a) + int(image[y0, x1, c]) * a) >> 4
                lower = (int(image[y1, x0, c]) * (2048 - a) + int(image[y1, x1, c]) * a) >> 4
                out[y, x, c] = (((upper * (2048 - b)) >> 16) + ((lower * b) >> 16) + 2) >> 2
    return out


def resized(image, size_hw):
    planes = np.full((3, *size_hw), np.nan, np.float32)
    resize(image, planes)
    return np.rint(planes.transpose(1, 2, 0) * 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("image_hw", "canvas_hw", "inner_hw", "top", "left"),
    [
        ((1, 1), (640, 640), (640, 640), 0, 0),
        ((640, 640), (640, 640), (640, 640), 0, 0),
        ((720, 1280), (640, 640), (360, 640), 140, 0),
        ((1280, 720), (640, 640), (640, 360), 0, 140),
        ((31, 33), (640, 640), (601, 640), 19, 0),  # 39 px to share: the odd one goes below
        ((100, 3000), (640, 640), (21, 640), 309, 0),
        ((1, 5000), (640, 640), (1, 640), 319, 0),  # never thinner than a pixel
        ((480, 640), (320, 448), (320, 427), 0, 10),
    ],
)
def test_an_image_is_fitted_and_centred(image_hw, canvas_hw, inner_hw, top, left):
    assert letterbox(image_hw, canvas_hw) == Letterbox(image_hw, canvas_hw, inner_hw, top, left)


@pytest.mark.parametrize(
    ("image_hw", "canvas_hw", "least_hw"),
    [
        ((640, 640), (640, 640), (640, 640)),
        ((720, 1280), (640, 640), (384, 640)),
        ((1280, 720), (640, 640), (640, 384)),
        ((100, 3000), (640, 640), (32, 640)),
        ((480, 640), (640, 640), (480, 640)),
    ],
)
def test_a_dynamic_canvas_is_padded_to_the_stride_only(image_hw, canvas_hw, least_hw):
    assert minimal_canvas(image_hw, canvas_hw) == least_hw


@given(image_hw=st.tuples(SIDES, SIDES), canvas_hw=st.sampled_from([(640, 640), (320, 448), (1280, 736)]))
def test_boxes_come_back_from_where_they_went(image_hw, canvas_hw):
    box = letterbox(image_hw, canvas_hw)
    height, width = image_hw
    corners = np.array([[0, 0, width, height], [width / 4, height / 3, width / 2, height / 1.5]], np.float32)
    scale = np.array([box.resized_hw[1] / width, box.resized_hw[0] / height] * 2, np.float32)
    there = corners * scale + np.array([box.left, box.top] * 2, np.float32)
    np.testing.assert_allclose(box.to_image_coords(there), corners, atol=0.002 * max(1, *image_hw) / 640 + 0.002)


def test_boxes_beyond_the_image_are_clipped_to_it():
    box = letterbox((720, 1280), (640, 640))
    back = box.to_image_coords(np.array([[-50, 0, 700, 640]], np.float32))
    assert back.tolist() == [[0, 0, 1280, 720]]


def test_no_boxes_come_back_as_no_boxes():
    assert letterbox((720, 1280), (640, 640)).to_image_coords(np.empty((0, 4), np.float32)).shape == (0, 4)


@pytest.mark.parametrize(
    ("shape_hw", "size_hw"),
    [
        ((1, 1), (1, 1)),
        ((1, 1), (3, 2)),
        ((2, 3), (7, 5)),
        ((5, 7), (5, 7)),
        ((13, 9), (6, 9)),
        ((64, 48), (32, 24)),
        ((90, 160), (36, 64)),
        ((33, 31), (70, 66)),  # more than one band of rows
        ((7, 100), (1, 64)),
        ((100, 60), (50, 30)),  # halved, in more than one band
        ((96, 60), (32, 20)),  # a third: single pixels
        ((10, 60), (5, 20)),
        ((96, 45), (24, 15)),
        ((60, 60), (49, 120)),  # rows that are shared by several
        ((60, 3000), (50, 40)),  # a wide one: rows are picked from a few at a time
    ],
)
def test_resampling_is_the_fixed_point_to_the_last_bit(shape_hw, size_hw):
    image = np.random.default_rng(7).integers(0, 256, (*shape_hw, 3), np.uint8)
    np.testing.assert_array_equal(resized(image, size_hw), written_out(image, size_hw))


def test_a_view_into_four_byte_pixels_is_resampled_alike():
    stored = np.random.default_rng(8).integers(0, 256, (60, 80, 4), np.uint8)
    tile = rgb_view(stored)[11:51, 7:67]
    np.testing.assert_array_equal(resized(tile, (24, 36)), resized(tile.copy(), (24, 36)))


def test_levels_are_divided_by_255_to_the_last_bit():
    levels = np.arange(256, dtype=np.uint8)
    planes = np.empty((3, 16, 16), np.float32)
    resize(np.repeat(levels.reshape(16, 16, 1), 3, axis=2), planes)
    np.testing.assert_array_equal(planes[0].ravel(), levels / np.float32(255))
    out = np.empty((3, 8, 4), np.float32)
    letterbox((4, 4), (8, 4)).render_into(np.zeros((4, 4, 3), np.uint8), out)
    assert out[0, 0, 0] == np.float32(114) / np.float32(255)


def test_padding_is_grey_on_every_side():
    out = np.full((3, 64, 96), np.nan, np.float32)
    box = Letterbox((10, 10), (64, 96), (20, 30), top=8, left=11)
    box.render_into(np.zeros((10, 10, 3), np.uint8), out)
    inside = np.zeros((64, 96), bool)
    inside[8:28, 11:41] = True
    assert (out[:, inside] == 0).all()
    np.testing.assert_array_equal(np.rint(out[:, ~inside] * 255), 114)


# The two readings


def drawn(image, resampling, image_hw=None, canvas_hw=(64, 96)):
    out = np.full((3, *canvas_hw), np.nan, np.float32)
    letterbox(image_hw or image.shape[:2], canvas_hw).render_into(image, out, resampling)
    return out


@pytest.mark.parametrize("shape_hw", [(1, 1), (3, 2), (64, 96), (127, 191), (41, 190)])
def test_what_is_not_halved_is_read_alike(shape_hw):
    image = np.random.default_rng(9).integers(0, 256, (*shape_hw, 3), np.uint8)
    np.testing.assert_array_equal(drawn(image, "fast"), drawn(image, "exact"))


def test_fine_stripes_are_grey_from_afar_and_one_of_them_seen_exactly():
    stripes = np.zeros((600, 970, 3), np.uint8)
    stripes[:, ::2] = 200
    exact, fast = drawn(stripes, "exact") * 255, drawn(stripes, "fast") * 255
    assert fast.std() < 6
    assert exact.std() > 40


@given(size_hw=st.tuples(st.integers(256, 400), st.integers(384, 500)), times=st.sampled_from([1, 2, 4]))
@settings(max_examples=20)
def test_a_slope_is_where_it_is_however_much_it_was_shrunk_before(size_hw, times):
    """Three to four levels a pixel of the canvas: a third of a pixel is seen, at the far edges too."""
    y, x = np.meshgrid(*(np.linspace(0, 250, side, dtype=np.float32) for side in size_hw), indexing="ij")
    slope = np.stack((x, y, 250 - x), axis=2).astype(np.uint8)
    differ = drawn(block_mean(slope, (times, times)), "fast", image_hw=size_hw) - drawn(slope, "exact")
    place = letterbox(size_hw, (64, 96))
    rows = slice(place.top + 1, place.top + place.resized_hw[0] - 1)
    columns = slice(place.left + 1, place.left + place.resized_hw[1] - 1)
    inner = differ[:, rows, columns] * 255
    for edge in (inner[:, :8], inner[:, -8:], inner[:, :, :8], inner[:, :, -8:]):
        assert np.abs(edge.mean(axis=(1, 2))).max() < 1.3


@pytest.mark.parametrize("times_hw", [(1, 1), (2, 3), (4, 1)])
def test_averages_are_of_what_is_there(times_hw):
    image = np.random.default_rng(2).integers(0, 256, (9, 10, 3), np.uint8)
    means = block_mean(image, times_hw)
    rows, columns = times_hw
    assert means.shape == (-(-9 // rows), -(-10 // columns), 3)
    for y, x in ((0, 0), (means.shape[0] - 1, means.shape[1] - 1)):
        part = image[y * rows : (y + 1) * rows, x * columns : (x + 1) * columns]
        np.testing.assert_allclose(means[y, x], part.mean(axis=(0, 1)), atol=0.51)
