"""The pixel budget: threads decode no more pixels at once than one image may have, and none waits for ever."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from shared.errors import InvalidImage
from shared.vision.images import codec
from shared.vision.images.codec import PixelBudget

TIMEOUT_S = 20


@pytest.mark.parametrize("sizes", [[], [0], [10], [11], [4, 4, 4, 4], [10, 10, 1, 1], [11, 2, 9, 30, 1] * 4])
def test_reservations_stay_under_the_limit_or_are_alone(sizes: list[int]) -> None:
    budget, lock = PixelBudget(), threading.Lock()
    reserved: list[int] = []
    snapshots: list[list[int]] = []

    def reserve(pixels: int) -> None:
        with budget.reserve(pixels, limit=10):
            with lock:
                reserved.append(pixels)
                snapshots.append(list(reserved))
            threading.Event().wait(0.002)
            with lock:
                reserved.remove(pixels)

    with ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(reserve, pixels) for pixels in sizes]:
            future.result(TIMEOUT_S)

    assert len(snapshots) == len(sizes), "each reservation is granted"
    assert all(
        sum(snapshot) <= 10 or len([pixels for pixels in snapshot if pixels]) == 1 for snapshot in snapshots
    )


def test_reservation_is_released_after_an_error() -> None:
    budget = PixelBudget()

    with pytest.raises(InvalidImage), budget.reserve(10, limit=10):
        raise InvalidImage("broken")

    with budget.reserve(10, limit=10):
        pass


def test_decode_of_large_image_waits_while_small_one_proceeds() -> None:
    data = codec.encode_jpeg(np.zeros((20, 50, 3), np.uint8))

    with ThreadPoolExecutor(1) as pool:
        with codec.PIXEL_BUDGET.reserve(1, limit=1000):
            waiting = pool.submit(codec.decode, data, max_pixels=1000)
            small = codec.decode(codec.encode_jpeg(np.zeros((3, 3, 3), np.uint8)), max_pixels=1000)
            assert small.shape == (3, 3, 3)
            with pytest.raises(TimeoutError):
                waiting.result(0.2)
        assert waiting.result(TIMEOUT_S).shape == (20, 50, 3)
