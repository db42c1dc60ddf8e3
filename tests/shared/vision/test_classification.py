"""What a classifier sees, and which classes are the strongest."""

import numpy as np
import pytest
from PIL import Image

from shared.vision.classification import crop, top_k
from shared.vision.images.pixels import rgb_view


@pytest.mark.parametrize(
    ("shape_hw", "size_hw"), [((1, 1), (8, 8)), ((40, 60), (32, 32)), ((61, 40), (32, 32)), ((40, 61), (16, 24))]
)
def test_the_crop_is_pillows(shape_hw, size_hw):
    image = np.random.default_rng(5).integers(0, 256, (*shape_hw, 3), np.uint8)
    height, width = shape_hw
    if size_hw[0] == size_hw[1]:
        side, short = size_hw[0], min(shape_hw)
        resized = Image.fromarray(image).resize(
            (int(side * width / short), int(side * height / short)), Image.Resampling.BILINEAR
        )
        left, top = round((resized.width - side) / 2), round((resized.height - side) / 2)
        expected = np.asarray(resized)[top : top + side, left : left + side]
    else:
        expected = np.asarray(Image.fromarray(image).resize(size_hw[::-1], Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(crop(image, size_hw), expected.transpose(2, 0, 1).astype(np.float32) / 255)


@pytest.mark.parametrize("shape_hw", [(37, 1301), (1301, 37), (20, 501), (1, 50), (3, 2000)])
def test_the_middle_of_a_line_is_that_of_the_whole_to_a_level(shape_hw):
    image = np.random.default_rng(7).integers(0, 256, (*shape_hw, 3), np.uint8)
    side, short = 32, min(shape_hw)
    size_wh = tuple(int(side * length / short) for length in shape_hw[::-1])
    resized = Image.fromarray(image).resize(size_wh, Image.Resampling.BILINEAR)
    left, top = (round((length - side) / 2) for length in size_wh)
    expected = np.asarray(resized)[top : top + side, left : left + side].transpose(2, 0, 1)
    assert np.abs(crop(image, (side, side)) * 255 - expected).max() < 1.01


def test_a_view_of_four_byte_pixels_is_cropped_alike():
    stored = np.random.default_rng(6).integers(0, 256, (30, 50, 4), np.uint8)
    tile = rgb_view(stored)[3:27, 5:45]
    np.testing.assert_array_equal(crop(tile, (16, 16)), crop(tile.copy(), (16, 16)))


@pytest.mark.parametrize(
    ("scores", "count", "threshold", "class_ids"),
    [
        ([], 5, 0, []),
        ([0.2, 0.5, 0.3], 5, 0, [1, 2, 0]),
        ([0.2, 0.5, 0.3], 2, 0, [1, 2]),
        ([0.2, 0.5, 0.3], 5, 0.3, [1, 2]),
        ([0.2, 0.5, 0.3], 5, 0.6, []),
        ([0.4, 0.4, 0.2], 2, 0, [0, 1]),
    ],
)
def test_the_strongest_come_first(scores, count, threshold, class_ids):
    best = top_k(np.array(scores, np.float32), count=count, threshold=np.float32(threshold))
    assert best.class_ids.tolist() == class_ids
    assert best.confidences.tolist() == [np.float32(scores[index]) for index in class_ids]
