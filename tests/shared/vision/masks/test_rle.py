"""COCO's run-length encoding: tables, round trips, and the compressed text against cocoapi's definition."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from shared.vision.arrays import BoolArray, SizeHW
from shared.vision.masks.masks import Mask
from shared.vision.masks.rle import encode_rle
from testing.rle import compress_rle, decode_rle, decompress_rle

PIXELS = arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=7))
MARGIN = st.integers(0, 3)


def rle_to_string(counts: Sequence[int]) -> str:
    """Do what rleToString of cocoapi does, one group at a time."""
    text = ""
    for index, count in enumerate(counts):
        number = count - counts[index - 2] if index > 2 else count
        while True:
            group, number = number & 31, number >> 5
            more = number != (-1 if group & 16 else 0)
            text += chr(group + 32 * more + 48)
            if not more:
                break
    return text


@pytest.mark.parametrize(
    ("rows", "left", "top", "image_hw", "counts"),
    [
        pytest.param([], 0, 0, (2, 3), [6], id="no rows"),
        pytest.param([[0]], 1, 1, (2, 3), [6], id="no pixel of the object"),
        pytest.param([[1]], 0, 0, (1, 1), [0, 1], id="whole image"),
        pytest.param([[1]], 0, 0, (2, 3), [0, 1, 5], id="first pixel"),
        pytest.param([[1]], 1, 0, (2, 3), [2, 1, 3], id="second column"),
        pytest.param([[1]], 2, 1, (2, 3), [5, 1], id="last pixel, no empty run after it"),
        pytest.param([[1, 1], [1, 1]], 1, 0, (2, 3), [2, 4], id="run over two columns"),
        pytest.param([[0, 1], [1, 0]], 0, 0, (2, 3), [1, 2, 3], id="foot of a column and head of the next"),
        pytest.param([[1, 1], [0, 1]], 0, 0, (2, 2), [0, 1, 1, 2], id="gap inside a column"),
        pytest.param([[1, 1], [1, 1]], -1, -1, (2, 3), [0, 1, 5], id="partly beyond the image"),
        pytest.param([[1]], 5, 5, (2, 3), [6], id="beyond the image"),
    ],
)
def test_encode_rle_counts_pixels_down_the_columns(
    rows: list[list[int]], left: int, top: int, image_hw: SizeHW, counts: list[int]
) -> None:
    mask = Mask(left, top, np.array(rows, bool).reshape(len(rows), -1 if rows else 0))

    assert encode_rle(mask, image_hw) == counts


@given(PIXELS, MARGIN, MARGIN, MARGIN, MARGIN)
def test_decode_rle_restores_encoded_mask(inside: BoolArray, left: int, top: int, right: int, bottom: int) -> None:
    whole = np.pad(inside, ((top, bottom), (left, right)))
    image_hw = whole.shape[0], whole.shape[1]

    counts = encode_rle(Mask(left, top, inside), image_hw)

    assert sum(counts) == whole.size
    assert all(counts[1:])
    np.testing.assert_array_equal(decode_rle(counts, image_hw), whole)


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        pytest.param([], "", id="none"),
        pytest.param([6], "6", id="one group"),
        pytest.param([0, 1, 5], "015", id="three counts"),
        pytest.param([15], "?", id="largest of one group"),
        pytest.param([16], "`0", id="smallest of two groups"),
        pytest.param([31], "o0", id="five bits, two groups"),
        pytest.param([5, 3, 2, 1, 9], "532N7", id="differences: 1 - 3 and 9 - 2"),
    ],
)
def test_compressed_text_of_counts(counts: list[int], text: str) -> None:
    assert compress_rle(counts) == text
    assert decompress_rle(text) == counts


@given(st.lists(st.one_of(st.integers(0, 40), st.integers(0, 2**40)), max_size=12))
def test_decompress_restores_compressed_counts(counts: list[int]) -> None:
    text = compress_rle(counts)

    assert text == rle_to_string(counts)
    assert decompress_rle(text) == counts
