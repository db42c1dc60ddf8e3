"""Bounds on runs: time, by a watchdog; memory, by an arena; and nobody is blamed for a neighbour."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime as ort
import pytest

from shared.errors import DeadlineExceeded, InvalidModel
from shared.ml import bounded_run as runs
from shared.ml import onnx_model
from shared.ml.model_checks import ModelLimits
from shared.ml.onnx_model import ModelSource, OnnxModel
from shared.processors.sliced_processor import process_areas
from shared.runtime import deadline
from testing import hostile_graphs, hostile_models, models

LIGHT = np.ones((1, 3, 64, 64), np.float32)
# Not quite endless: a watchdog that sleeps fails the tests in half a minute, and does not hang them.
ENDLESS = hostile_graphs.looped(hostile_graphs.node("Identity", "state", "next"), turns=5_000_000)


def load(data, **limits):
    source = ModelSource("gs://b/models/t/detect.onnx", 1, "AAAAAA==")
    return OnnxModel(data, model_type="detect", source=source, threads=1, limits=ModelLimits(**limits))


# Time


def test_a_run_that_takes_too_long_is_the_model_s_fault():
    with pytest.raises(InvalidModel, match=r"took more than 0\.2 s"):
        load(ENDLESS, max_run_s=0.2).run(LIGHT)


def test_a_run_that_the_event_has_no_time_for_is_nobody_s_fault():
    model = load(ENDLESS)
    with deadline.fail_after(0.2), pytest.raises(DeadlineExceeded):
        model.run(LIGHT)
    with deadline.fail_after(0.2), pytest.raises(DeadlineExceeded):  # nor is it refused from then on
        model.run(LIGHT)


def test_no_run_begins_when_the_time_is_over():
    with deadline.fail_after(0), pytest.raises(DeadlineExceeded):
        load(models.detect()).run(LIGHT)


def test_tiles_have_the_time_that_their_event_has():
    model = load(ENDLESS)
    areas = np.array([[0, 0, 1, 1]] * 3)
    with deadline.fail_after(0.3), pytest.raises(DeadlineExceeded):
        process_areas(np.zeros((1, 1, 3), np.uint8), areas, lambda _: model.run(LIGHT))


def test_a_model_whose_run_was_ended_does_not_run_again_for_a_while(monkeypatch):
    model = load(ENDLESS, max_run_s=0.2)
    with pytest.raises(InvalidModel):
        model.run(LIGHT)
    started = time.monotonic()
    for _ in range(100):
        with pytest.raises(InvalidModel, match="took more than"):
            model.run(LIGHT)
    assert time.monotonic() - started < 10, "100 runs of 0.2 s each would take 20"
    monkeypatch.setattr(onnx_model, "RUN_FAILURE_COOLDOWN_S", 0.0)
    again = load(ENDLESS, max_run_s=0.2)
    for _ in range(2):
        with pytest.raises(runs.RunTimeout):
            again.run(LIGHT)


def test_the_watchdog_ends_the_overdue_and_nobody_else():
    watchdog = runs.Watchdog()
    late, early, done = ort.RunOptions(), ort.RunOptions(), ort.RunOptions()
    now = time.monotonic()
    with watchdog.watch(late, now + 60), watchdog.watch(early, now + 0.1):
        with watchdog.watch(done, now + 0.05):
            pass
        wait_for(lambda: early.terminate)
        assert not late.terminate
        assert not done.terminate


def test_the_watchdog_sleeps_until_the_first_is_due_and_wakes_for_an_earlier_one():
    watchdog = runs.Watchdog()
    for _ in range(3):  # asleep without an end, then for an hour, then not
        first = ort.RunOptions()
        with watchdog.watch(ort.RunOptions(), time.monotonic() + 3600):
            time.sleep(0.05)
            with watchdog.watch(first, time.monotonic() + 0.05):
                wait_for(lambda: first.terminate)  # noqa: B023 - called before the next turn


def test_many_runs_at_once_have_one_watchdog():
    model = load(models.detect(), max_run_s=30)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: model.run(LIGHT), range(64)))
    assert [each.name for each in threading.enumerate()].count("watchdog") <= 3, "this one's, and other tests'"


# Memory


@pytest.fixture
def small_arena():
    """96 MB for the sessions that this test makes."""
    runs.share_arena(96 * 2**20)
    yield
    runs.share_arena()


def test_who_is_beside_a_model_that_takes_all_memory_is_served(small_arena):
    """The greedy one holds what there is in a run of its own, and fails; its neighbours never do."""
    good, over = load(models.detect()), threading.Event()
    greedy = hostile_models.ENDED["a loop that doubles"][0]

    def serve():
        served = 0
        while not over.is_set() or not served:
            np.testing.assert_allclose(good.run(LIGHT)[0][0, 4, 0], 0.9, rtol=1e-5)
            served += 1
        return served

    with ThreadPoolExecutor(3) as pool:
        servers = [pool.submit(serve) for _ in range(2)]
        try:
            for _ in range(3):
                with pytest.raises(InvalidModel, match="more memory"):
                    load(greedy).run(LIGHT)
        finally:
            over.set()
        assert all(server.result(60) for server in servers)


def test_a_victim_is_served_once_it_is_alone(small_arena):
    """60 MB beside a neighbour's 60 MB are too much; one after the other they are not."""
    sixty = {"many": np.int64([15_000_000])}
    ones = hostile_graphs.node("ConstantOfShape", "many", "big")
    held = load(hostile_graphs.using("big", ones, constants=sixty))
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: held.run(LIGHT)[0].shape, range(16)))
    assert answers == [(1, 6, 84)] * 16


def test_alone_is_alone():
    gate, inside, most_beside = runs.SharedExclusiveLock(), [], []

    def together(_):
        with gate.shared():
            inside.append(1)
            time.sleep(0.001)
            inside.pop()

    def alone(_):
        with gate.exclusive():
            most_beside.append(len(inside))
            time.sleep(0.002)
            most_beside.append(len(inside))

    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(alone if index % 5 == 0 else together, index) for index in range(200)]
        for each in waiting:
            each.result(20)
    assert most_beside == [0] * 80


def test_who_waits_to_be_alone_gives_up_when_the_time_is_over_and_lets_the_others_in():
    gate = runs.SharedExclusiveLock()
    with gate.shared(), deadline.fail_after(0.05), pytest.raises(DeadlineExceeded), gate.exclusive():
        pass
    with deadline.fail_after(1), gate.shared():
        pass
    with gate.exclusive(), ThreadPoolExecutor(1) as pool:
        late = pool.submit(_enter, gate)
        assert isinstance(late.exception(10), DeadlineExceeded)


def _enter(gate):
    with deadline.fail_after(0.05), gate.shared():
        pass


def wait_for(condition, timeout_s=10):
    ends = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.002)
