"""What is left of an event's time: the least of all deadlines that hold, in every thread that works on it."""

import contextvars
import math
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from shared.errors import DeadlineExceeded
from shared.runtime import deadline


def test_without_a_deadline_there_is_always_time():
    assert deadline.remaining_s() == math.inf
    assert deadline.remaining_s(at_most=5) == 5


def test_what_is_left_is_the_least_of_all():
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
def test_no_time_is_an_error_whatever_is_asked_for(seconds):
    with deadline.fail_after(seconds):
        for at_most in (math.inf, 5, 0):
            with pytest.raises(DeadlineExceeded):
                deadline.remaining_s(at_most=at_most)


def test_a_thread_that_takes_the_context_along_has_the_same_time():
    with ThreadPoolExecutor(1) as pool, deadline.fail_after(100):
        context = contextvars.copy_context()
        assert pool.submit(context.run, deadline.remaining_s).result() <= 100
        assert pool.submit(deadline.remaining_s).result() == math.inf


def test_how_much_there_was_in_the_beginning_stays_the_same():
    assert deadline.total_s() == math.inf
    with deadline.fail_after(100):
        time.sleep(0.01)
        assert deadline.total_s() == 100
        with deadline.fail_after(10):
            assert deadline.total_s() == 10
        with deadline.fail_after(200):
            assert deadline.total_s() == 100
    assert deadline.total_s() == math.inf
