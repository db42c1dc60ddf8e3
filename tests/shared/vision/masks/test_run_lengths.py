"""Run lengths: tables, there and back, and the text against its definition written out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from shared.vision.masks.masks import Mask
from shared.vision.masks.run_lengths import compressed, pixels, run_lengths, uncompressed

PIXELS = arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=7))
MARGIN = st.integers(0, 3)


def written_out(counts):
    """rleToString of cocoapi, a group at a time."""
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
    ("rows", "left", "top", "size_hw", "counts"),
    [
        ([], 0, 0, (2, 3), [6]),
        ([[0]], 1, 1, (2, 3), [6]),
        ([[1]], 0, 0, (1, 1), [0, 1]),
        ([[1]], 0, 0, (2, 3), [0, 1, 5]),
        ([[1]], 1, 0, (2, 3), [2, 1, 3]),
        ([[1]], 2, 1, (2, 3), [5, 1]),  # the last pixel: no empty run after it
        ([[1, 1], [1, 1]], 1, 0, (2, 3), [2, 4]),  # from the foot of a column to the head of the next
        ([[0, 1], [1, 0]], 0, 0, (2, 3), [1, 2, 3]),
        ([[1, 1], [0, 1]], 0, 0, (2, 2), [0, 1, 1, 2]),
        ([[1, 1], [1, 1]], -1, -1, (2, 3), [0, 1, 5]),  # what lies beyond the image is left out
        ([[1]], 5, 5, (2, 3), [6]),
    ],
)
def test_counts_go_down_the_columns(rows, left, top, size_hw, counts):
    mask = Mask(left, top, np.array(rows, bool).reshape(len(rows), -1 if rows else 0))
    assert run_lengths(mask, size_hw) == counts


@given(PIXELS, MARGIN, MARGIN, MARGIN, MARGIN)
def test_counts_there_and_back(inside, left, top, right, bottom):
    whole = np.pad(inside, ((top, bottom), (left, right)))
    counts = run_lengths(Mask(left, top, inside), whole.shape)
    assert sum(counts) == whole.size
    assert all(counts[1:])
    np.testing.assert_array_equal(pixels(counts, whole.shape), whole)


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        ([], ""),
        ([6], "6"),
        ([0, 1, 5], "015"),
        ([15], "?"),
        ([16], "`0"),
        ([31], "o0"),
        ([5, 3, 2, 1, 9], "532N7"),  # 1 - 3 and 9 - 2
    ],
)
def test_the_text_of_counts(counts, text):
    assert compressed(counts) == text
    assert uncompressed(text) == counts


@given(st.lists(st.one_of(st.integers(0, 40), st.integers(0, 2**40)), max_size=12))
def test_text_there_and_back(counts):
    text = compressed(counts)
    assert text == written_out(counts)
    assert uncompressed(text) == counts
