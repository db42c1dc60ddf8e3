"""Four-byte pixels: views share memory, everything else is copied, and both have the same values."""

import numpy as np
import pytest

from shared.vision.arrays import Pixels
from shared.vision.images.pixels import as_uint32, rgb_view, with_padding_byte

STORED = np.random.default_rng(1).integers(0, 256, (12, 10, 4), np.uint8)
VIEW = rgb_view(STORED)


@pytest.mark.parametrize(
    ("image", "shares_memory"),
    [
        pytest.param(VIEW, True, id="view"),
        pytest.param(VIEW[3:9, 2:7], True, id="rectangle of the view"),
        pytest.param(VIEW[:1, -1:], True, id="corner pixel"),
        pytest.param(np.ascontiguousarray(VIEW), False, id="three bytes a pixel"),
        pytest.param(VIEW[::2], False, id="every other row"),
        pytest.param(VIEW[:, ::-1], False, id="flipped"),
        pytest.param(STORED[..., 1:], False, id="last three bytes of four"),
        pytest.param(STORED[..., ::-1][..., :3], False, id="reversed channels"),
        pytest.param(VIEW.transpose(1, 0, 2), False, id="transposed"),
    ],
)
def test_with_padding_byte_shares_memory_where_possible(image: Pixels, shares_memory: bool) -> None:  # noqa: FBT001
    padded = with_padding_byte(image)

    np.testing.assert_array_equal(padded[..., :3], image)
    assert np.shares_memory(padded, STORED) == shares_memory


def test_as_uint32_has_red_in_the_lowest_byte() -> None:
    assert as_uint32(np.array([[[1, 2, 3]]], np.uint8))[0, 0] & 0xFFFFFF == 0x030201
