"""The pixel budget: threads decode no more pixels at once than one image may have, and none waits for ever."""

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest

from shared.errors import DeadlineExceeded, InvalidImage
from shared.runtime import deadline
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
    large, small = (codec.encode_jpeg(np.zeros((*size_hw, 3), np.uint8)) for size_hw in ((20, 50), (3, 3)))

    with ThreadPoolExecutor(1) as pool:
        with codec.PIXEL_BUDGET.reserve(1, limit=1000):
            assert codec.decode(small, max_pixels=1000).shape == (3, 3, 3)
            waiting = pool.submit(codec.decode, large, max_pixels=1000)
            with pytest.raises(TimeoutError):
                waiting.result(0.2)
        assert waiting.result(TIMEOUT_S).shape == (20, 50, 3)


def wait_for_queue(budget: PixelBudget, length: int) -> None:
    """Wait until `length` reservations wait in the budget's queue."""
    give_up_at = time.monotonic() + TIMEOUT_S
    while len(budget._queue) < length:
        assert time.monotonic() < give_up_at
        time.sleep(0.001)


def test_large_reservation_is_not_overtaken_by_small_ones_made_later() -> None:
    budget = PixelBudget()
    granted: list[int] = []

    def reserve(pixels: int) -> None:
        with budget.reserve(pixels, limit=10):
            granted.append(pixels)

    with ThreadPoolExecutor(4) as pool:
        with budget.reserve(5, limit=10):
            futures: list[Future[None]] = []
            for waiting, pixels in enumerate((10, 1, 2, 3), start=1):
                futures.append(pool.submit(reserve, pixels))
                wait_for_queue(budget, waiting)
            assert granted == []
        for future in futures:
            future.result(TIMEOUT_S)

    assert granted[0] == 10
    assert sorted(granted[1:]) == [1, 2, 3]


def test_wait_for_pixels_ends_with_the_event_deadline() -> None:
    budget = PixelBudget()

    def reserve() -> None:
        with deadline.fail_after(0.05), budget.reserve(10, limit=10):
            pytest.fail("ten pixels do not fit beside one")

    with ThreadPoolExecutor(1) as pool, budget.reserve(1, limit=10), pytest.raises(DeadlineExceeded):
        pool.submit(reserve).result(TIMEOUT_S)
    with budget.reserve(10, limit=10):
        pass


def test_reservation_that_gives_up_lets_the_next_one_in() -> None:
    budget = PixelBudget()

    def reserve(pixels: int, timeout_s: float) -> None:
        with deadline.fail_after(timeout_s), budget.reserve(pixels, limit=10):
            pass

    with ThreadPoolExecutor(2) as pool, budget.reserve(5, limit=10):
        large = pool.submit(reserve, 10, 0.2)
        wait_for_queue(budget, 1)
        small = pool.submit(reserve, 1, TIMEOUT_S)
        small.result(TIMEOUT_S)
        with pytest.raises(DeadlineExceeded):
            large.result(TIMEOUT_S)
