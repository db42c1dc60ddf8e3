"""Four-byte pixels: a view is read where it lies, everything else is copied, and both say the same."""

import numpy as np
import pytest

from shared.vision.images.pixels import as_uint32, rgb_view, with_padding_byte

STORED = np.random.default_rng(1).integers(0, 256, (12, 10, 4), np.uint8)
VIEW = rgb_view(STORED)


@pytest.mark.parametrize(
    ("image", "shared"),
    [
        (VIEW, True),
        (VIEW[3:9, 2:7], True),
        (VIEW[:1, -1:], True),
        (np.ascontiguousarray(VIEW), False),
        (VIEW[::2], False),
        (VIEW[:, ::-1], False),
        (STORED[..., 1:], False),  # three bytes of four, but not the first three
        (STORED[..., ::-1][..., :3], False),
        (VIEW.transpose(1, 0, 2), False),
    ],
)
def test_memory_is_shared_where_it_can_be(image, shared):
    packed = with_padding_byte(image)
    np.testing.assert_array_equal(packed[..., :3], image)
    assert np.shares_memory(packed, STORED) == shared


def test_words_hold_red_lowest():
    assert as_uint32(np.array([[[1, 2, 3]]], np.uint8))[0, 0] & 0xFFFFFF == 0x030201
