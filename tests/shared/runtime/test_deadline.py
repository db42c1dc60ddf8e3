"""The event deadline: the earliest of nested ones, in every thread with a copied context."""

import contextvars
import math
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from shared.errors import DeadlineExceeded
from shared.runtime import deadline


def test_remaining_time_is_infinite_without_a_deadline() -> None:
    assert deadline.remaining_s() == math.inf
    assert deadline.remaining_s(at_most=5) == 5


def test_earliest_of_nested_deadlines_applies() -> None:
    with deadline.fail_after(100):
        assert 99 < deadline.remaining_s() <= 100
        assert deadline.remaining_s(at_most=5) == 5
        with deadline.fail_after(200):
            assert deadline.remaining_s() <= 100
        with deadline.fail_after(10):
            assert deadline.remaining_s() <= 10
        assert deadline.remaining_s() > 99
    assert deadline.remaining_s() == math.inf


@pytest.mark.parametrize("seconds", [0, -1])
def test_passed_deadline_is_an_error_whatever_the_maximum(seconds: float) -> None:
    with deadline.fail_after(seconds):
        for at_most in (math.inf, 5, 0):
            with pytest.raises(DeadlineExceeded):
                deadline.remaining_s(at_most=at_most)


def test_thread_with_a_copied_context_has_the_same_deadline() -> None:
    with ThreadPoolExecutor(1) as pool, deadline.fail_after(100):
        context = contextvars.copy_context()
        assert pool.submit(context.run, deadline.remaining_s).result() <= 100
        assert pool.submit(deadline.remaining_s).result() == math.inf


def test_total_time_stays_that_of_the_start() -> None:
    assert deadline.total_s() == math.inf
    with deadline.fail_after(100):
        time.sleep(0.01)
        assert deadline.total_s() == 100
        with deadline.fail_after(10):
            assert deadline.total_s() == 10
        with deadline.fail_after(200):
            assert deadline.total_s() == 100
    assert deadline.total_s() == math.inf
