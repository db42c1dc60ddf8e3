"""Resampling: bilinear against the formula written out pixel by pixel, the block mean, and thumbnails."""

import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest

from shared.vision.arrays import Pixels, SizeHW
from shared.vision.images.codec import encode_jpeg
from shared.vision.images.pixels import rgb_view
from shared.vision.images.resample import block_mean, resize, thumbnail


def resized_by_definition(image: Pixels, size_hw: SizeHW) -> Pixels:
    """Resize with OpenCV's fixed-point bilinear, one output pixel at a time, in Python's own integers."""

    def taps(length: int, target: int) -> Iterator[tuple[int, int, int]]:
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


def resized(image: Pixels, size_hw: SizeHW) -> Pixels:
    planes = np.full((3, *size_hw), np.nan, np.float32)
    resize(image, planes)
    levels: Pixels = np.rint(planes.transpose(1, 2, 0) * 255).astype(np.uint8)
    return levels


@pytest.mark.parametrize(
    ("shape_hw", "size_hw"),
    [
        pytest.param((1, 1), (1, 1), id="one pixel"),
        pytest.param((1, 1), (3, 2), id="one pixel enlarged"),
        pytest.param((2, 3), (7, 5), id="enlarged"),
        pytest.param((5, 7), (5, 7), id="same size"),
        pytest.param((13, 9), (6, 9), id="same width"),
        pytest.param((64, 48), (32, 24), id="halved"),
        pytest.param((90, 160), (36, 64), id="reduced"),
        pytest.param((33, 31), (70, 66), id="more than one band of rows"),
        pytest.param((7, 100), (1, 64), id="one row"),
        pytest.param((100, 60), (50, 30), id="halved in more than one band"),
        pytest.param((96, 60), (32, 20), id="a third is single pixels"),
        pytest.param((10, 60), (5, 20), id="half the height and a third of the width"),
        pytest.param((96, 45), (24, 15), id="a quarter of the height and a third of the width"),
        pytest.param((60, 60), (49, 120), id="rows shared by several samples"),
        pytest.param((60, 3000), (50, 40), id="wide, gathered a few rows at a time"),
    ],
)
def test_resize_is_fixed_point_bilinear_to_the_last_bit(shape_hw: SizeHW, size_hw: SizeHW) -> None:
    image = np.random.default_rng(7).integers(0, 256, (*shape_hw, 3), np.uint8)

    np.testing.assert_array_equal(resized(image, size_hw), resized_by_definition(image, size_hw))


def test_resize_of_four_byte_view_equals_resize_of_copy() -> None:
    stored = np.random.default_rng(8).integers(0, 256, (60, 80, 4), np.uint8)
    tile = rgb_view(stored)[11:51, 7:67]

    np.testing.assert_array_equal(resized(tile, (24, 36)), resized(tile.copy(), (24, 36)))


@pytest.mark.parametrize("side", [pytest.param(1600, id="interpolated"), pytest.param(1344, id="single pixels")])
def test_resize_of_a_large_tile_does_not_copy_the_tile(side: int) -> None:
    tile = rgb_view(np.zeros((2000, 2000, 4), np.uint8))[7 : 7 + side, 5 : 5 + side]
    planes = np.empty((3, 64, 64), np.float32)

    tracemalloc.start()
    try:
        resize(tile, planes)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < tile.size / 3  # a copy has four bytes for each three of `tile.size`


def test_resize_divides_levels_by_255_to_the_last_bit() -> None:
    levels = np.arange(256, dtype=np.uint8)
    planes = np.empty((3, 16, 16), np.float32)

    resize(np.repeat(levels.reshape(16, 16, 1), 3, axis=2), planes)

    np.testing.assert_array_equal(planes[0].ravel(), levels / np.float32(255))


@pytest.mark.parametrize("factors_hw", [(1, 1), (2, 3), (4, 1)])
def test_block_mean_at_edges_averages_only_existing_pixels(factors_hw: tuple[int, int]) -> None:
    image = np.random.default_rng(2).integers(0, 256, (9, 10, 3), np.uint8)

    means = block_mean(image, factors_hw)

    rows, columns = factors_hw
    assert means.shape == (-(-9 // rows), -(-10 // columns), 3)
    for y, x in ((0, 0), (means.shape[0] - 1, means.shape[1] - 1)):
        block = image[y * rows : (y + 1) * rows, x * columns : (x + 1) * columns]
        np.testing.assert_allclose(means[y, x], block.mean(axis=(0, 1)), atol=0.51)


@pytest.mark.parametrize(
    ("shape_hw", "side", "expected_hw"),
    [
        ((1, 1), 16, (1, 1)),
        ((240, 320), 320, (240, 320)),
        ((240, 321), 320, (239, 320)),
        ((3000, 4000), 320, (240, 320)),
        ((4000, 3000), 1024, (1024, 768)),
        ((1, 4000), 16, (1, 16)),
        ((4000, 1), 16, (16, 1)),
    ],
)
def test_thumbnail_has_the_long_side_or_is_the_picture(shape_hw: SizeHW, side: int, expected_hw: SizeHW) -> None:
    small = thumbnail(rgb_view(np.full((*shape_hw, 4), 90, np.uint8)), side)

    assert small.shape == (*expected_hw, 3)
    assert (small == 90).all()
    assert encode_jpeg(small).startswith(b"\xff\xd8")


@pytest.mark.parametrize("channels", [3, 4])
def test_thumbnail_averages_fine_patterns_and_keeps_colours(channels: int) -> None:
    picture = np.zeros((900, 1200, channels), np.uint8)
    picture[::2, ::2] = picture[1::2, 1::2] = 200
    picture[..., 0] = 40

    small = thumbnail(picture[..., :3], 300)

    assert np.abs(small[5:-5, 5:-5].astype(int) - (40, 100, 100)).max() <= 2


def test_thumbnail_does_not_change_the_picture() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    before = picture.copy()

    first, second = thumbnail(picture, 64), thumbnail(picture, 64)

    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(picture, before)
