"""Time and memory limits of runs: the watchdog, the shared arena, and the lock that runs a model alone."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime as ort
import pytest

from shared.errors import DeadlineExceeded, InvalidModel
from shared.ml import bounded_run, onnx_model
from shared.ml.model_checks import ModelLimits
from shared.ml.onnx_model import ModelSource, OnnxModel
from shared.processors.sliced_processor import process_areas
from shared.runtime import deadline
from testing import hostile_graphs, hostile_models, models

WHITE = np.ones((1, 3, 64, 64), np.float32)
# It ends by itself after half a minute: without a watchdog the tests fail and do not hang.
ENDLESS = hostile_graphs.in_loop(hostile_graphs.node("Identity", "state", "next"), iterations=5_000_000)


def load(data: bytes, *, max_run_s: float = 60.0) -> OnnxModel:
    source = ModelSource("gs://b/models/t/detect.onnx", 1, "AAAAAA==")
    limits = ModelLimits(max_run_s=max_run_s)
    return OnnxModel(data, model_type="detect", source=source, threads=1, limits=limits)


def wait_for(condition: Callable[[], bool], timeout_s: float = 10) -> None:
    ends_at = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < ends_at
        time.sleep(0.002)


# Time


def test_run_longer_than_the_limit_is_an_invalid_model() -> None:
    with pytest.raises(InvalidModel, match=r"took more than 0\.2 s"):
        load(ENDLESS, max_run_s=0.2).run(WHITE)


def test_run_cut_by_the_event_deadline_does_not_blame_the_model() -> None:
    model = load(ENDLESS)
    with deadline.fail_after(0.2), pytest.raises(DeadlineExceeded):
        model.run(WHITE)
    with deadline.fail_after(0.2), pytest.raises(DeadlineExceeded):  # and the model may run again
        model.run(WHITE)


def test_no_run_starts_after_the_event_deadline() -> None:
    with deadline.fail_after(0), pytest.raises(DeadlineExceeded):
        load(models.detect()).run(WHITE)


def test_runs_on_tiles_obey_the_event_deadline() -> None:
    model = load(ENDLESS)
    areas = np.array([[0, 0, 1, 1]] * 3)
    with deadline.fail_after(0.3), pytest.raises(DeadlineExceeded):
        process_areas(np.zeros((1, 1, 3), np.uint8), areas, lambda _: model.run(WHITE))


def test_model_that_exceeded_the_time_limit_is_not_run_again_during_cooldown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = load(ENDLESS, max_run_s=0.2)
    with pytest.raises(InvalidModel):
        model.run(WHITE)

    started = time.monotonic()
    for _ in range(100):
        with pytest.raises(InvalidModel, match="took more than"):
            model.run(WHITE)
    assert time.monotonic() - started < 10, "100 runs of 0.2 s each would take 20"

    monkeypatch.setattr(onnx_model, "RUN_FAILURE_COOLDOWN_S", 0.0)
    without_cooldown = load(ENDLESS, max_run_s=0.2)
    for _ in range(2):
        with pytest.raises(bounded_run.RunTimeout):
            without_cooldown.run(WHITE)


def test_watchdog_terminates_only_overdue_runs() -> None:
    watchdog = bounded_run.Watchdog()
    late, early, done = ort.RunOptions(), ort.RunOptions(), ort.RunOptions()
    now = time.monotonic()
    with watchdog.watch(late, now + 60), watchdog.watch(early, now + 0.1):
        with watchdog.watch(done, now + 0.05):
            pass
        wait_for(lambda: early.terminate)
        assert not late.terminate
        assert not done.terminate


def test_sleeping_watchdog_wakes_for_a_run_that_is_due_earlier() -> None:
    watchdog = bounded_run.Watchdog()
    for _ in range(3):  # it sleeps without a timeout, then for an hour, then not at all
        early = ort.RunOptions()
        with watchdog.watch(ort.RunOptions(), time.monotonic() + 3600):
            time.sleep(0.05)
            with watchdog.watch(early, time.monotonic() + 0.05):
                wait_for(lambda: early.terminate)  # noqa: B023 - called before the next iteration


def test_concurrent_runs_share_one_watchdog_thread() -> None:
    model = load(models.detect(), max_run_s=30)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: model.run(WHITE), range(64)))
    names = [thread.name for thread in threading.enumerate()]
    assert names.count("watchdog") <= 3, "this one's, and those of the two tests above"


# Memory


@pytest.fixture
def small_arena() -> Iterator[None]:
    """Limit the sessions that a test creates to 96 MB."""
    bounded_run.share_arena(96 * 2**20)
    yield
    bounded_run.share_arena()


@pytest.mark.usefixtures("small_arena")
def test_models_beside_one_that_exhausts_the_memory_succeed() -> None:
    """The large one fails, though it runs alone; its neighbours never fail."""
    neighbour, is_over = load(models.detect()), threading.Event()
    large = hostile_models.STOPPED["a loop that doubles"][0]

    def run_until_over() -> int:
        runs = 0
        while not is_over.is_set() or not runs:
            np.testing.assert_allclose(neighbour.run(WHITE)[0][0, 4, 0], 0.9, rtol=1e-5)
            runs += 1
        return runs

    with ThreadPoolExecutor(3) as pool:
        neighbours = [pool.submit(run_until_over) for _ in range(2)]
        try:
            for _ in range(3):
                with pytest.raises(InvalidModel, match="more memory"):
                    load(large).run(WHITE)
        finally:
            is_over.set()
        assert all(each.result(60) for each in neighbours)


@pytest.mark.usefixtures("small_arena")
def test_run_that_does_not_fit_beside_others_is_repeated_alone() -> None:
    """Two runs of 60 MB do not fit together, and one does."""
    sixty_mb = {"size": np.array([15_000_000])}
    ones = hostile_graphs.node("ConstantOfShape", "size", "big")
    model = load(hostile_graphs.depending_on("big", ones, constants=sixty_mb))
    with ThreadPoolExecutor(4) as pool:
        shapes = list(pool.map(lambda _: model.run(WHITE)[0].shape, range(16)))
    assert shapes == [(1, 6, 84)] * 16


def test_exclusive_lock_excludes_all_shared_holders() -> None:
    lock = bounded_run.SharedExclusiveLock()
    shared_holders: list[int] = []
    observed: list[int] = []

    def hold_shared(_: int) -> None:
        with lock.shared():
            shared_holders.append(1)
            time.sleep(0.001)
            shared_holders.pop()

    def hold_exclusive(_: int) -> None:
        with lock.exclusive():
            observed.append(len(shared_holders))
            time.sleep(0.002)
            observed.append(len(shared_holders))

    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(hold_shared if index % 5 else hold_exclusive, index) for index in range(200)]
        for future in futures:
            future.result(20)
    assert observed == [0] * 80


def test_waiting_for_the_lock_ends_at_the_event_deadline() -> None:
    lock = bounded_run.SharedExclusiveLock()

    def hold_shared() -> None:
        with deadline.fail_after(0.05), lock.shared():
            pass

    with lock.shared(), deadline.fail_after(0.05), pytest.raises(DeadlineExceeded), lock.exclusive():
        pass
    with deadline.fail_after(1), lock.shared():  # the failed wait blocks no other thread
        pass
    with lock.exclusive(), ThreadPoolExecutor(1) as pool:
        assert isinstance(pool.submit(hold_shared).exception(10), DeadlineExceeded)
