"""Classification: the input equals Pillow's resize and centre crop, and the best classes come first."""

import numpy as np
import pytest
from PIL import Image

from shared.vision.arrays import SizeHW
from shared.vision.classification import classifier_input, top_k
from shared.vision.images.pixels import rgb_view


@pytest.mark.parametrize(
    ("shape_hw", "size_hw"),
    [
        pytest.param((1, 1), (8, 8), id="one pixel"),
        pytest.param((40, 60), (32, 32), id="landscape to square"),
        pytest.param((61, 40), (32, 32), id="portrait to square"),
        pytest.param((40, 61), (16, 24), id="stretched to rectangle"),
    ],
)
def test_classifier_input_equals_pillow_resize_and_crop(shape_hw: SizeHW, size_hw: SizeHW) -> None:
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

    planes = classifier_input(image, size_hw)

    np.testing.assert_array_equal(planes, expected.transpose(2, 0, 1).astype(np.float32) / 255)


@pytest.mark.parametrize("shape_hw", [(37, 1301), (1301, 37), (20, 501), (1, 50), (3, 2000)])
def test_classifier_input_of_a_narrow_image_differs_by_at_most_one_level(shape_hw: SizeHW) -> None:
    image = np.random.default_rng(7).integers(0, 256, (*shape_hw, 3), np.uint8)
    side, short = 32, min(shape_hw)
    resized_wh = int(side * shape_hw[1] / short), int(side * shape_hw[0] / short)
    resized = Image.fromarray(image).resize(resized_wh, Image.Resampling.BILINEAR)
    left, top = (round((length - side) / 2) for length in resized_wh)
    expected = np.asarray(resized)[top : top + side, left : left + side].transpose(2, 0, 1)

    planes = classifier_input(image, (side, side))

    assert np.abs(planes * 255 - expected).max() < 1.01


def test_classifier_input_of_four_byte_view_equals_that_of_copy() -> None:
    stored = np.random.default_rng(6).integers(0, 256, (30, 50, 4), np.uint8)
    tile = rgb_view(stored)[3:27, 5:45]

    np.testing.assert_array_equal(classifier_input(tile, (16, 16)), classifier_input(tile.copy(), (16, 16)))


@pytest.mark.parametrize(
    ("scores", "count", "threshold", "class_ids"),
    [
        pytest.param([], 5, 0, [], id="no classes"),
        pytest.param([0.2, 0.5, 0.3], 5, 0, [1, 2, 0], id="all, sorted"),
        pytest.param([0.2, 0.5, 0.3], 2, 0, [1, 2], id="the best two"),
        pytest.param([0.2, 0.5, 0.3], 5, 0.3, [1, 2], id="threshold included"),
        pytest.param([0.2, 0.5, 0.3], 5, 0.6, [], id="none above the threshold"),
        pytest.param([0.4, 0.4, 0.2], 2, 0, [0, 1], id="ties by class id"),
    ],
)
def test_top_k_returns_best_classes_first(
    scores: list[float], count: int, threshold: float, class_ids: list[int]
) -> None:
    best = top_k(np.array(scores, np.float32), count=count, threshold=threshold)

    assert best.class_ids.tolist() == class_ids
    assert best.confidences.tolist() == [np.float32(scores[index]) for index in class_ids]
