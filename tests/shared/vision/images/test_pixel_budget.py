"""Decoding waits for its turn: never more pixels at once than one image may have, and nobody waits for ever."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from shared.errors import InvalidImage
from shared.vision.images import codec
from shared.vision.images.pixel_budget import PixelBudget

TIMEOUT_S = 20


@pytest.mark.parametrize("sizes", [[], [0], [10], [11], [4, 4, 4, 4], [10, 10, 1, 1], [11, 2, 9, 30, 1] * 4])
def test_never_more_than_the_most_unless_alone(sizes):
    budget, lock, now, seen = PixelBudget(), threading.Lock(), [], []

    def take(pixels):
        with budget.reserve(pixels, most=10):
            with lock:
                now.append(pixels)
                seen.append(list(now))
            threading.Event().wait(0.002)
            with lock:
                now.remove(pixels)

    with ThreadPoolExecutor(8) as pool:
        for each in [pool.submit(take, pixels) for pixels in sizes]:
            each.result(TIMEOUT_S)
    assert len(seen) == len(sizes), "all had their turn"
    assert all(sum(together) <= 10 or len([each for each in together if each]) == 1 for together in seen)


def test_what_fails_gives_back_what_it_had():
    budget = PixelBudget()
    with pytest.raises(InvalidImage), budget.reserve(10, most=10):
        raise InvalidImage("broken")
    with budget.reserve(10, most=10):
        pass


def test_a_large_image_waits_while_another_is_decoded():
    data = codec.encode_jpeg(np.zeros((20, 50, 3), np.uint8))
    with ThreadPoolExecutor(1) as pool:
        with codec.BUDGET.reserve(1, most=1000):
            waiting = pool.submit(codec.decode, data, max_pixels=1000)
            small = codec.decode(codec.encode_jpeg(np.zeros((3, 3, 3), np.uint8)), max_pixels=1000)
            assert small.shape == (3, 3, 3), "there was room for this one"
            with pytest.raises(TimeoutError):
                waiting.result(0.2)
        assert waiting.result(TIMEOUT_S).shape == (20, 50, 3)
