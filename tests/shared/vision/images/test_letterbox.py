"""Letterbox: geometry forward and back, padding, and the two kinds of resampling."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.vision.arrays import Float32Array, Pixels, SizeHW
from shared.vision.images.letterbox import Letterbox, Resampling, letterbox, minimal_canvas
from shared.vision.images.resample import block_mean

SIDES = st.integers(1, 3000)


def rendered(
    image: Pixels, resampling: Resampling, image_hw: SizeHW | None = None, canvas_hw: SizeHW = (64, 96)
) -> Float32Array:
    """Return the planes of a canvas with the image letterboxed into it."""
    out = np.full((3, *canvas_hw), np.nan, np.float32)
    letterbox(image_hw or (image.shape[0], image.shape[1]), canvas_hw).render_into(image, out, resampling)
    return out


@pytest.mark.parametrize(
    ("image_hw", "canvas_hw", "resized_hw", "top", "left"),
    [
        pytest.param((1, 1), (640, 640), (640, 640), 0, 0, id="one pixel is enlarged"),
        pytest.param((640, 640), (640, 640), (640, 640), 0, 0, id="same size"),
        pytest.param((720, 1280), (640, 640), (360, 640), 140, 0, id="landscape"),
        pytest.param((1280, 720), (640, 640), (640, 360), 0, 140, id="portrait"),
        pytest.param((31, 33), (640, 640), (601, 640), 19, 0, id="odd pixel of padding goes below"),
        pytest.param((100, 3000), (640, 640), (21, 640), 309, 0, id="panorama"),
        pytest.param((1, 5000), (640, 640), (1, 640), 319, 0, id="never thinner than a pixel"),
        pytest.param((480, 640), (320, 448), (320, 427), 0, 10, id="rectangular canvas"),
    ],
)
def test_letterbox_fits_and_centres_image(
    image_hw: SizeHW, canvas_hw: SizeHW, resized_hw: SizeHW, top: int, left: int
) -> None:
    assert letterbox(image_hw, canvas_hw) == Letterbox(image_hw, canvas_hw, resized_hw, top, left)


@pytest.mark.parametrize(
    ("image_hw", "canvas_hw", "expected_hw"),
    [
        ((640, 640), (640, 640), (640, 640)),
        ((720, 1280), (640, 640), (384, 640)),
        ((1280, 720), (640, 640), (640, 384)),
        ((100, 3000), (640, 640), (32, 640)),
        ((480, 640), (640, 640), (480, 640)),
    ],
)
def test_minimal_canvas_is_padded_to_stride_only(image_hw: SizeHW, canvas_hw: SizeHW, expected_hw: SizeHW) -> None:
    assert minimal_canvas(image_hw, canvas_hw) == expected_hw


@given(image_hw=st.tuples(SIDES, SIDES), canvas_hw=st.sampled_from([(640, 640), (320, 448), (1280, 736)]))
def test_to_image_coords_inverts_letterbox(image_hw: SizeHW, canvas_hw: SizeHW) -> None:
    box = letterbox(image_hw, canvas_hw)
    height, width = image_hw
    corners = np.array([[0, 0, width, height], [width / 4, height / 3, width / 2, height / 1.5]], np.float32)
    scale = np.array([box.resized_hw[1] / width, box.resized_hw[0] / height] * 2, np.float32)

    on_canvas = corners * scale + np.array([box.left, box.top] * 2, np.float32)

    tolerance = 0.002 * max(1, *image_hw) / 640 + 0.002
    np.testing.assert_allclose(box.to_image_coords(on_canvas), corners, atol=tolerance)


def test_to_image_coords_clips_boxes_to_image() -> None:
    box = letterbox((720, 1280), (640, 640))

    boxes = box.to_image_coords(np.array([[-50, 0, 700, 640]], np.float32))

    assert boxes.tolist() == [[0, 0, 1280, 720]]


def test_to_image_coords_of_no_boxes_is_empty() -> None:
    assert letterbox((720, 1280), (640, 640)).to_image_coords(np.empty((0, 4), np.float32)).shape == (0, 4)


def test_padding_is_114_of_255_to_the_last_bit() -> None:
    out = np.empty((3, 8, 4), np.float32)

    letterbox((4, 4), (8, 4)).render_into(np.zeros((4, 4, 3), np.uint8), out)

    assert out[0, 0, 0] == np.float32(114) / np.float32(255)


def test_render_into_pads_every_side_with_grey() -> None:
    out = np.full((3, 64, 96), np.nan, np.float32)
    box = Letterbox((10, 10), (64, 96), (20, 30), top=8, left=11)

    box.render_into(np.zeros((10, 10, 3), np.uint8), out)

    inside = np.zeros((64, 96), bool)
    inside[8:28, 11:41] = True
    assert (out[:, inside] == 0).all()
    np.testing.assert_array_equal(np.rint(out[:, ~inside] * 255), 114)


@pytest.mark.parametrize("shape_hw", [(1, 1), (3, 2), (64, 96), (127, 191), (41, 190)])
def test_fast_equals_exact_if_image_is_less_than_twice_the_canvas(shape_hw: SizeHW) -> None:
    image = np.random.default_rng(9).integers(0, 256, (*shape_hw, 3), np.uint8)

    np.testing.assert_array_equal(rendered(image, "fast"), rendered(image, "exact"))


def test_fast_averages_fine_stripes_that_exact_samples() -> None:
    stripes = np.zeros((600, 970, 3), np.uint8)
    stripes[:, ::2] = 200

    exact, fast = rendered(stripes, "exact") * 255, rendered(stripes, "fast") * 255

    assert fast.std() < 6
    assert exact.std() > 40


@given(size_hw=st.tuples(st.integers(256, 400), st.integers(384, 500)), factor=st.sampled_from([1, 2, 4]))
@settings(max_examples=20)
def test_downscaled_image_is_not_shifted_on_canvas(size_hw: SizeHW, factor: int) -> None:
    """A gradient has three to four levels a canvas px, so a shift by a third of a px shows, even at the edges."""
    y, x = np.meshgrid(*(np.linspace(0, 250, side, dtype=np.float32) for side in size_hw), indexing="ij")
    gradient = np.stack((x, y, 250 - x), axis=2).astype(np.uint8)
    downscaled = block_mean(gradient, (factor, factor))

    difference = rendered(downscaled, "fast", image_hw=size_hw) - rendered(gradient, "exact")

    box = letterbox(size_hw, (64, 96))
    rows = slice(box.top + 1, box.top + box.resized_hw[0] - 1)
    columns = slice(box.left + 1, box.left + box.resized_hw[1] - 1)
    inner = difference[:, rows, columns] * 255
    for edge in (inner[:, :8], inner[:, -8:], inner[:, :, :8], inner[:, :, -8:]):
        assert np.abs(edge.mean(axis=(1, 2))).max() < 1.3
