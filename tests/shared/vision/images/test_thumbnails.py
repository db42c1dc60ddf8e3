"""Thumbnails: as long as asked, antialiased, and never larger than the picture."""

import numpy as np
import pytest

from shared.vision.images.codec import encode_jpeg
from shared.vision.images.pixels import rgb_view
from shared.vision.images.thumbnails import thumbnail


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
def test_the_long_side_is_as_asked_or_the_picture_s(shape_hw, side, expected_hw):
    small = thumbnail(rgb_view(np.full((*shape_hw, 4), 90, np.uint8)), side)
    assert small.shape == (*expected_hw, 3)
    assert (small == 90).all()
    assert encode_jpeg(small).startswith(b"\xff\xd8")


@pytest.mark.parametrize("channels", [3, 4])
def test_fine_patterns_become_their_mean_and_colours_stay(channels):
    picture = np.zeros((900, 1200, channels), np.uint8)
    picture[::2, ::2] = picture[1::2, 1::2] = 200
    picture[..., 0] = 40
    small = thumbnail(picture[..., :3], 300)
    assert np.abs(small[5:-5, 5:-5].astype(int) - (40, 100, 100)).max() <= 2


def test_the_picture_stays_as_it_is():
    picture = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    before = picture.copy()
    first, second = thumbnail(picture, 64), thumbnail(picture, 64)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(picture, before)
