"""ModelCache: single flight, negative cache, eviction, refresh, and isolation of tenants, also under threads."""

import gc
import logging
import math
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from local.stack import Stack
from shared.cloud.object_store import ObjectStore
from shared.errors import DeadlineExceeded, InvalidModel, ModelNotFound, StorageUnavailable
from shared.ml import model_cache
from shared.ml.bounded_run import RunTimeout
from shared.ml.model_cache import ModelCache
from shared.ml.model_checks import ModelLimits
from shared.ml.onnx_model import ModelSource, OnnxModel
from shared.ml.output_layout import ModelType
from shared.processors.detector_processor import DetectorProcessor
from shared.runtime import activity, deadline
from shared.runtime.event_record import event_record
from testing import hostile_models, models, scripted_server
from testing.cloud import Cloud
from testing.memory_store import MemoryStore

PATH = "models/tenant-001/detect.onnx"
OTHER = "models/tenant-002/detect.onnx"
DEFAULT_LIMITS = ModelLimits()


def uri(path: str) -> str:
    return f"gs://b/{path}"


@pytest.fixture
def store() -> Iterator[MemoryStore]:
    store = MemoryStore()
    configure(store)
    yield store
    for gate in store.gates.values():
        gate.set()
    ModelCache.clear_cache()


@pytest.fixture
def always_stale(store: MemoryStore) -> MemoryStore:
    """Make every lookup of a cached model check its file for changes; failures are not cached."""
    configure(store, refresh_s=0.0)
    return store


def configure(
    store: MemoryStore, *, refresh_s: float = 60.0, limits: ModelLimits = DEFAULT_LIMITS, cache_bytes: int = 0
) -> None:
    ModelCache.configure(store, bucket="b", threads=1, refresh_s=refresh_s, limits=limits, cache_bytes=cache_bytes)


def get(tenant_id: str = "tenant-001", model_type: ModelType = "detect", worker_id: int = 0) -> OnnxModel:
    return ModelCache.get_model(tenant_id=tenant_id, model_type=model_type, worker_id=worker_id)


def wait_for(condition: Callable[[], bool], timeout_s: float = 10) -> None:
    ends_at = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < ends_at
        time.sleep(0.002)


# Loading


def test_new_cache_is_empty(store: MemoryStore) -> None:
    assert ModelCache.keys() == []
    stats = ModelCache.stats()
    assert (stats.hits, stats.misses, stats.waits, stats.loads, stats.models, stats.bytes) == (0, 0, 0, 0, 0, 0)


def test_model_is_loaded_once_and_cached_under_its_key(store: MemoryStore) -> None:
    data = models.detect()
    generation = store.put(PATH, data)
    model = get()

    assert get() is model
    assert ModelCache.keys() == ["tenant-001_detect_worker_0"]
    assert (model.source.uri, model.source.generation) == (uri(PATH), generation)
    assert store.calls == {("read", PATH): 1}
    stats = ModelCache.stats()
    assert (stats.hits, stats.misses, stats.loads, stats.models, stats.bytes) == (1, 1, 1, 1, len(data))


def test_concurrent_lookups_of_one_model_share_one_download(store: MemoryStore) -> None:
    store.put(PATH, models.detect())
    gate = store.gate(PATH)
    with ThreadPoolExecutor(50) as pool:
        futures = [pool.submit(get) for _ in range(50)]
        wait_for(lambda: ModelCache.stats().waits == 49)
        gate.set()
        loaded = {id(future.result(20)) for future in futures}

    assert len(loaded) == 1
    assert store.calls["read", PATH] == 1
    stats = ModelCache.stats()
    assert (stats.misses, stats.waits, stats.loads, stats.models) == (1, 49, 1, 1)


def test_slow_load_does_not_block_other_models(store: MemoryStore) -> None:
    store.put(PATH, models.detect())
    store.put(OTHER, models.detect())
    gate = store.gate(PATH)
    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(get)
        assert store.entered.acquire(timeout=10)
        assert pool.submit(get, "tenant-002").result(10).source.uri == uri(OTHER)
        assert get("tenant-002").source.uri == uri(OTHER), "a hit does not wait either"
        assert not slow.done()
        gate.set()
        assert slow.result(10).source.uri == uri(PATH)


def test_each_worker_has_its_own_model_of_the_same_file(store: MemoryStore) -> None:
    store.put(PATH, models.detect())
    assert get(worker_id=0) is not get(worker_id=1)
    assert ModelCache.keys() == ["tenant-001_detect_worker_0", "tenant-001_detect_worker_1"]


def test_similar_tenant_ids_and_workers_have_different_keys(store: MemoryStore) -> None:
    for tenant_id in ("a", "a-1", "a1", "1", "a-detect-worker-0"):
        store.put(f"models/{tenant_id}/detect.onnx", models.detect(labels=(tenant_id,), boxes=()))
    for tenant_id in ("a", "a-1", "a1", "1", "a-detect-worker-0"):
        assert get(tenant_id).export.labels == (tenant_id,)

    assert len(set(ModelCache.keys())) == 5


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            ("tenant_id", each)
            for each in ("", "A", "-a", "a-", "a_b", "../b", "a/b", "a" * 64, "ä", "a\n", "a.b", "\u0663")
        ),
        *(("model_type", each) for each in ("", "Detect", "pose", "../detect", "detect.onnx", "detect\n")),
        *(("worker_id", each) for each in (-1, 0.0, 1.5, "0", "../0", None, True)),
    ],
)
def test_malformed_argument_is_rejected_before_any_call_to_storage(
    name: str, value: Any, store: MemoryStore
) -> None:
    arguments: dict[str, Any] = {"tenant_id": "a", "model_type": "detect", "worker_id": 0, name: value}
    with pytest.raises(ValueError, match=name):
        get(**arguments)
    with pytest.raises(ValueError, match=name):
        ModelCache.generation(**arguments)

    assert not store.calls


@pytest.mark.parametrize("tenant_id", ["a", "0", "a-b", "tenant-001", "a" * 63, "a--b"])
def test_valid_tenant_id_is_accepted(tenant_id: str, store: MemoryStore) -> None:
    store.put(f"models/{tenant_id}/detect.onnx", models.detect())
    assert get(tenant_id).source.uri == uri(f"models/{tenant_id}/detect.onnx")


# Failing


def test_missing_model_is_a_file_not_found_error_with_the_contracts_message(store: MemoryStore) -> None:
    store.put(OTHER, models.detect())
    get("tenant-002")
    with pytest.raises(FileNotFoundError, match=r"^Model 'detect' not found for tenant 'tenant-001'$") as caught:
        get()

    assert isinstance(caught.value, ModelNotFound)
    assert ModelCache.keys() == ["tenant-002_detect_worker_0"], "the other tenant's model is kept"


@pytest.mark.parametrize("model_type", ["detect", "segment", "classify"])
def test_missing_type_is_not_replaced_by_a_model_of_another_type(
    model_type: ModelType, store: MemoryStore
) -> None:
    for other in {"detect", "segment", "classify"} - {model_type}:
        store.put(f"models/tenant-001/{other}.onnx", models.detect())
    with pytest.raises(ModelNotFound, match=f"Model '{model_type}' not found"):
        get(model_type=model_type)

    assert store.calls == {("read", f"models/tenant-001/{model_type}.onnx"): 1}


@pytest.mark.parametrize(
    "failure", [StorageUnavailable("x"), DeadlineExceeded("x"), MemoryError(), RuntimeError("x")]
)
def test_load_error_other_than_404_is_raised_and_not_cached(failure: BaseException, store: MemoryStore) -> None:
    store.put(PATH, models.detect())
    store.failures["read", PATH] = failure
    with pytest.raises(type(failure)) as caught:
        get()
    assert not isinstance(caught.value, FileNotFoundError)
    assert (ModelCache.keys(), ModelCache.stats().models) == ([], 0)
    store.failures.clear()

    assert get().source.uri == uri(PATH)


def test_invalid_file_is_not_cached_and_a_valid_upload_is_used_at_once(always_stale: MemoryStore) -> None:
    store = always_stale
    for data in (b"", b"no model", models.detect(metadata={"task": "segment"})):
        store.put(PATH, data)
        with pytest.raises(InvalidModel):
            get()
    assert ModelCache.keys() == []
    store.put(PATH, models.detect())

    assert get().source.uri == uri(PATH)


def test_model_uploaded_after_a_miss_is_loaded(always_stale: MemoryStore) -> None:
    store = always_stale
    with pytest.raises(ModelNotFound):
        get()
    store.put(PATH, models.detect())

    assert get().source.uri == uri(PATH)
    assert ModelCache.stats().failures == 1


@pytest.mark.parametrize("failure", [None, StorageUnavailable("x"), KeyError("a bug")])
def test_failed_load_fails_all_waiting_threads_and_is_tried_again_later(
    failure: Exception | None, always_stale: MemoryStore
) -> None:
    store = always_stale
    if failure:
        store.failures["read", PATH] = failure
    gate = store.gate(PATH)
    with ThreadPoolExecutor(5) as pool:
        futures = [pool.submit(get) for _ in range(5)]
        wait_for(lambda: ModelCache.stats().waits == 4)
        gate.set()
        errors = [future.exception(20) for future in futures]
    assert {type(error) for error in errors} == {type(failure) if failure else ModelNotFound}
    assert store.calls["read", PATH] == 1
    store.failures.clear()
    store.put(PATH, models.detect())

    assert get().source.uri == uri(PATH)


# Negative cache


def test_repeated_lookups_of_a_missing_model_read_storage_once(store: MemoryStore) -> None:
    for _ in range(50):
        with pytest.raises(ModelNotFound, match=r"^Model 'detect' not found for tenant 'tenant-001'$"):
            get()
    assert store.calls == {("read", PATH): 1}


def test_repeated_lookups_of_an_invalid_model_read_storage_once(store: MemoryStore) -> None:
    store.put(PATH, models.detect(metadata={"task": "segment"}))
    for _ in range(50):
        with pytest.raises(InvalidModel, match="for the task 'segment'"):
            get()

    assert store.calls == {("read", PATH): 1}


def test_unavailable_storage_is_read_again_at_each_lookup(store: MemoryStore) -> None:
    store.failures["read", PATH] = StorageUnavailable("x")
    for _ in range(3):
        with pytest.raises(StorageUnavailable):
            get()

    assert store.calls == {("read", PATH): 3}


def test_upload_is_used_once_the_negative_entry_expires(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_cache, "NEGATIVE_CACHE_TTL_S", 0.2)
    configure(store)
    with pytest.raises(ModelNotFound):
        get()
    store.put(PATH, models.detect())
    with pytest.raises(ModelNotFound):
        get()
    time.sleep(0.25)

    assert get().source.uri == uri(PATH)


def test_expire_drops_the_negative_entry_at_once(store: MemoryStore) -> None:
    with pytest.raises(ModelNotFound):
        get()
    store.put(PATH, models.detect())
    ModelCache.expire(tenant_id="tenant-001", model_types=["detect"])

    assert get().source.uri == uri(PATH)


def test_negative_entry_applies_to_its_own_key_only(store: MemoryStore) -> None:
    store.put(OTHER, models.detect())
    for _ in range(2):
        with pytest.raises(ModelNotFound):
            get()

    assert get("tenant-002").source.uri == uri(OTHER)


def test_negative_entry_keeps_no_frames_of_failed_lookups_alive(store: MemoryStore) -> None:
    store.put(PATH, b"no model")

    def fail_to_get(image: npt.NDArray[np.float64]) -> weakref.ref[npt.NDArray[np.float64]]:
        """Fail while `image` is in a frame of the traceback."""
        with pytest.raises(InvalidModel):
            get()
        return weakref.ref(image)

    images = [fail_to_get(np.zeros(10)) for _ in range(3)]
    gc.collect()
    assert [image() for image in images] == [None] * 3


def test_file_above_the_size_limit_is_not_downloaded(store: MemoryStore) -> None:
    data = models.detect()
    store.put(PATH, data)
    configure(store, limits=ModelLimits(max_bytes=len(data) - 1))
    with pytest.raises(InvalidModel, match=f"^detect.onnx has more than {len(data) - 1} bytes, the limit$"):
        get()
    configure(store, limits=ModelLimits(max_bytes=len(data)))

    assert get().source.uri == uri(PATH)


# Eviction


def session_bytes(data: bytes) -> int:
    return OnnxModel(data, model_type="detect", source=ModelSource("", 1, "")).size_bytes


SMALL = models.detect()
TENANTS = [f"tenant-{index:03}" for index in range(6)]


@pytest.fixture
def small_cache(store: MemoryStore) -> MemoryStore:
    """Store models of six tenants, of which four fit the cache."""
    for tenant in TENANTS:
        store.put(f"models/{tenant}/detect.onnx", SMALL)
    configure(store, cache_bytes=4 * session_bytes(SMALL) + 100)
    return store


def cached_tenants() -> list[str]:
    keys = ModelCache.keys()
    return [key.removesuffix("_detect_worker_0") for key in keys]


def test_no_model_is_evicted_without_a_size_limit(store: MemoryStore) -> None:
    for tenant in TENANTS:
        store.put(f"models/{tenant}/detect.onnx", SMALL)
        get(tenant)
    assert cached_tenants() == TENANTS


def test_least_recently_used_model_is_evicted(small_cache: MemoryStore) -> None:
    for tenant in TENANTS[:4]:
        get(tenant)
    get(TENANTS[0])
    get(TENANTS[4])

    assert cached_tenants() == [TENANTS[0], TENANTS[2], TENANTS[3], TENANTS[4]]
    assert ModelCache.stats().evictions == 1


def test_failed_run_is_remembered_after_the_model_has_left_the_cache(store: MemoryStore) -> None:
    def run_error() -> type[Exception]:
        with pytest.raises(InvalidModel, match="took more than") as error:
            get().run(np.ones((1, 3, 64, 64), np.float32))
        return error.type

    configure(store, limits=ModelLimits(max_run_s=0.2), cache_bytes=1)
    store.put(PATH, hostile_models.STOPPED["an endless loop"][0])

    assert [run_error(), run_error()] == [RunTimeout, InvalidModel], "the second did not run"
    assert (ModelCache.stats().loads, ModelCache.stats().models) == (2, 0)

    store.put(PATH, hostile_models.STOPPED["an endless loop"][0])
    assert run_error() is RunTimeout, "a new generation"


def test_models_beyond_their_maximum_number_are_evicted(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_cache, "MAX_MODELS", 2)
    configure(store)
    for tenant in TENANTS[:3]:
        store.put(f"models/{tenant}/detect.onnx", models.detect())
        get(tenant)

    assert cached_tenants() == TENANTS[1:3]
    assert ModelCache.stats().bytes == 2 * len(models.detect())


def test_model_in_use_is_not_evicted(small_cache: MemoryStore) -> None:
    processor = DetectorProcessor(tenant_id=TENANTS[0])
    for tenant in TENANTS[1:]:
        get(tenant)
    assert cached_tenants() == [TENANTS[0], *TENANTS[3:]]
    del processor
    gc.collect()
    get(TENANTS[1])

    assert TENANTS[0] not in cached_tenants()


def test_new_model_is_returned_but_not_cached_if_all_others_are_in_use(small_cache: MemoryStore) -> None:
    processors = [DetectorProcessor(tenant_id=tenant) for tenant in TENANTS[:4]]
    assert get(TENANTS[4]).source.uri == uri(f"models/{TENANTS[4]}/detect.onnx")
    assert cached_tenants() == TENANTS[:4]
    assert get(TENANTS[4]).source.uri == uri(f"models/{TENANTS[4]}/detect.onnx")
    assert small_cache.calls["read", f"models/{TENANTS[4]}/detect.onnx"] == 2
    del processors


@pytest.mark.parametrize(
    "data",
    [None, b"no model", models.detect(metadata={"task": "segment"}), models.detect(ballast=100_000)],
    ids=["missing", "no model", "another task", "too large"],
)
def test_missing_invalid_or_too_large_model_evicts_no_other(data: bytes | None, small_cache: MemoryStore) -> None:
    for tenant in TENANTS[:4]:
        get(tenant)
    path = f"models/{TENANTS[5]}/detect.onnx"
    small_cache.remove(path)
    if data is not None:
        small_cache.put(path, data)
    try:
        get(TENANTS[5])
    except (ModelNotFound, InvalidModel):
        assert data is None or len(data) < 10_000

    assert cached_tenants() == TENANTS[:4]
    assert ModelCache.stats().evictions == 0


def test_one_tenants_models_cannot_evict_all_others(small_cache: MemoryStore) -> None:
    for tenant in TENANTS[:3]:
        get(tenant)
    for worker in range(10):
        get(TENANTS[3], worker_id=worker)
    own = [TENANTS[3] in tenant for tenant in cached_tenants()]

    assert sorted(own) == [False, False, True, True]


def test_larger_new_generation_evicts_others_or_is_not_cached(small_cache: MemoryStore) -> None:
    configure(small_cache, refresh_s=0.0, cache_bytes=4 * session_bytes(SMALL) + 100)
    for tenant in TENANTS[:4]:
        get(tenant)
    small_cache.put(f"models/{TENANTS[0]}/detect.onnx", models.detect(ballast=4000))
    get(TENANTS[0])
    assert cached_tenants() == [TENANTS[0], TENANTS[2], TENANTS[3]]
    new = small_cache.put(f"models/{TENANTS[0]}/detect.onnx", models.detect(ballast=1_000_000))

    assert get(TENANTS[0]).source.generation == new
    assert cached_tenants() == TENANTS[2:4]


def test_concurrent_lookups_stay_within_the_size_limit(small_cache: MemoryStore) -> None:
    model_bytes = session_bytes(SMALL)
    cache_bytes = 4 * model_bytes + 100

    def look_up(thread: int) -> bool:
        for step in range(30):
            tenant = TENANTS[(thread * 7 + step * step) % 6]
            processor = DetectorProcessor(tenant_id=tenant)
            assert processor.model.source.uri == f"gs://b/models/{tenant}/detect.onnx"
            assert len(ModelCache.keys()) * model_bytes <= cache_bytes
        return True

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(look_up, range(6)))


# Waiting and clearing


def test_waiting_for_a_load_of_another_thread_ends_at_the_event_deadline(store: MemoryStore) -> None:
    store.put(PATH, models.detect())
    gate = store.gate(PATH)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(get)
        assert store.entered.acquire(timeout=10)
        with deadline.fail_after(0.05), pytest.raises(DeadlineExceeded):
            get()
        gate.set()
        assert first.result(10) is get()


def test_clear_cache_removes_models_and_counts(store: MemoryStore) -> None:
    store.put(PATH, models.detect())
    first = get()
    ModelCache.clear_cache()

    assert (ModelCache.keys(), ModelCache.stats().loads, ModelCache.stats().bytes) == ([], 0, 0)
    assert get() is not first


def test_load_in_progress_during_clear_cache_is_returned_but_not_cached(store: MemoryStore) -> None:
    store.put(PATH, models.detect())
    gate = store.gate(PATH)
    with ThreadPoolExecutor(3) as pool:
        old = [pool.submit(get), pool.submit(get)]
        wait_for(lambda: ModelCache.stats().waits == 1)
        ModelCache.clear_cache()
        assert store.entered.acquire(timeout=10)
        new = pool.submit(get)
        assert store.entered.acquire(timeout=10), "a lookup after clear_cache loads again"
        gate.set()
        loaded = [future.result(10) for future in (*old, new)]

    assert loaded[0] is loaded[1]
    assert loaded[2] is not loaded[0]
    assert get() is loaded[2]


def test_configure_registers_the_shared_arena_once_per_process(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    monkeypatch.setattr("shared.ml.bounded_run.share_arena", lambda: calls.append("share_arena"))
    monkeypatch.setattr(ModelCache, "_has_arena", False)

    configure(store)
    configure(store)

    assert calls == ["share_arena"]


def test_configure_removes_models_of_the_old_store(store: MemoryStore) -> None:
    store.put(PATH, models.detect())
    get()
    elsewhere = MemoryStore()
    configure(elsewhere)
    with pytest.raises(ModelNotFound):
        get()


# Refresh


def test_fresh_model_is_returned_without_a_call_to_storage(store: MemoryStore) -> None:
    store.put(PATH, models.detect())
    first = get()
    store.put(PATH, models.detect())

    assert get() is first
    assert store.calls == {("read", PATH): 1}


def test_refresh_keeps_an_unchanged_model_after_one_metadata_read(always_stale: MemoryStore) -> None:
    always_stale.put(PATH, models.detect())
    first = get()

    assert get() is first
    assert always_stale.calls == {("read", PATH): 1, ("changed", PATH): 1}
    assert ModelCache.stats().refreshes == 0


def test_refresh_replaces_the_model_by_a_new_generation(always_stale: MemoryStore) -> None:
    old = always_stale.put(PATH, models.detect())
    first = get()
    new = always_stale.put(PATH, models.detect(labels=("weed", "pot"), ballast=4000))

    assert (first.source.generation, get().source.generation) == (old, new)
    assert get().export.labels == ("weed", "pot")
    stats = ModelCache.stats()
    assert (stats.refreshes, stats.models, stats.bytes) == (1, 1, len(always_stale.data(PATH)))


def test_old_model_is_used_while_the_new_one_is_loading(always_stale: MemoryStore) -> None:
    always_stale.put(PATH, models.detect())
    first = get()
    new = always_stale.put(PATH, models.detect())
    gate = always_stale.gate(PATH)
    with ThreadPoolExecutor(1) as pool:
        renewing = pool.submit(get)
        assert always_stale.entered.acquire(timeout=10)
        assert [get() for _ in range(5)] == [first] * 5
        gate.set()
        assert renewing.result(10).source.generation == new

    assert always_stale.calls["read", PATH] == 2


def test_refresh_keeps_old_model_and_logs_a_warning_when_reload_fails(
    always_stale: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    old = always_stale.put(PATH, models.detect())
    get()
    always_stale.put(PATH, models.detect())
    for verb in ("changed", "read"):
        always_stale.failures[verb, PATH] = StorageUnavailable("Storage did not serve it")
        with caplog.at_level(logging.WARNING, "shared"):
            assert get().source.generation == old
        assert f"keeping generation {old}" in caplog.messages[-1]
        assert "tenant-001_detect_worker_0" in caplog.messages[-1]
    assert ModelCache.stats().failures == 2
    always_stale.failures.clear()

    assert get().source.generation > old


def test_failed_refresh_is_not_repeated_at_every_lookup(store: MemoryStore) -> None:
    configure(store, refresh_s=0.2)
    store.put(PATH, models.detect())
    get()
    time.sleep(0.25)
    store.failures["changed", PATH] = StorageUnavailable("x")
    for _ in range(20):
        get()

    assert store.calls["changed", PATH] == 1


@pytest.mark.parametrize(
    "data",
    [b"", b"no model", models.detect(metadata={"task": "segment"})],
    ids=["empty", "no model", "another task"],
)
def test_refresh_keeps_old_model_when_the_upload_is_invalid(
    data: bytes, always_stale: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    old = always_stale.put(PATH, models.detect())
    get()
    always_stale.put(PATH, data)
    assert get().source.generation == old
    assert caplog.messages
    new = always_stale.put(PATH, models.detect())

    assert get().source.generation == new


@pytest.mark.parametrize("failure", [MemoryError(), KeyError("a bug")])
def test_refresh_keeps_old_model_on_an_unexpected_error(failure: BaseException, always_stale: MemoryStore) -> None:
    old = always_stale.put(PATH, models.detect())
    get()
    always_stale.put(PATH, models.detect())
    always_stale.failures["read", PATH] = failure

    assert get().source.generation == old


def test_refresh_removes_a_deleted_model(always_stale: MemoryStore) -> None:
    always_stale.put(PATH, models.detect())
    get()
    always_stale.remove(PATH)
    with pytest.raises(ModelNotFound):
        get()
    assert ModelCache.keys() == []
    with pytest.raises(ModelNotFound):
        get()
    new = always_stale.put(PATH, models.detect())

    assert get().source.generation == new


def test_concurrent_lookups_never_return_an_older_generation_again(always_stale: MemoryStore) -> None:
    always_stale.put(PATH, models.detect())
    get()
    over = threading.Event()

    def watch() -> list[int]:
        seen: list[int] = []
        while not over.is_set():
            seen.append(get().source.generation)
        return seen

    with ThreadPoolExecutor(4) as pool:
        watchers = [pool.submit(watch) for _ in range(4)]
        for _ in range(10):
            last = always_stale.put(PATH, models.detect())
            wait_for(lambda: get().source.generation == last)  # noqa: B023 - called before the next iteration
        over.set()
        histories = [watcher.result(20) for watcher in watchers]
    assert all(history == sorted(history) for history in histories)
    assert always_stale.calls["read", PATH] == 11, "each generation is downloaded once"


# Generations


def test_generation_is_read_without_loading_the_model(store: MemoryStore) -> None:
    generation = store.put(PATH, models.detect())
    assert ModelCache.generation(tenant_id="tenant-001", model_type="detect") == generation
    assert store.calls == {("stat", PATH): 1}
    assert ModelCache.keys() == []


def test_generation_of_a_cached_model_is_the_cached_one(store: MemoryStore) -> None:
    old = store.put(PATH, models.detect())
    get()
    store.put(PATH, models.detect())
    assert ModelCache.generation(tenant_id="tenant-001", model_type="detect") == old


def test_generation_of_a_missing_model_raises_model_not_found(store: MemoryStore) -> None:
    with pytest.raises(ModelNotFound):
        ModelCache.generation(tenant_id="tenant-001", model_type="detect")


# Event record


def test_event_record_has_the_most_expensive_lookup_outcome(store: MemoryStore) -> None:
    for path in (PATH, OTHER):
        store.put(path, models.detect())
    with event_record() as first:
        get()
    with event_record() as second:
        get()
    with event_record() as third:
        get()
        get("tenant-002")
        get()

    assert [each.fields["model_cache"] for each in (first, second, third)] == ["miss", "hit", "miss"]
    assert "model" in first.timings_ms
    assert "model" not in second.timings_ms


# On an object store over HTTP


@pytest.fixture
def emulator_cloud(cloud: Cloud, emulators: Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", emulators.storage_url)
    ModelCache.configure(ObjectStore(project="p", call_timeout_s=10), bucket=cloud.models.name, refresh_s=0.0)
    yield cloud
    ModelCache.clear_cache()


def test_load_refresh_and_deletion_on_the_storage_emulator(emulator_cloud: Cloud) -> None:
    with pytest.raises(ModelNotFound):
        get()
    old = emulator_cloud.put_model("tenant-001", models.detect())
    assert get().source.generation == old
    assert get().source.generation == old
    new = emulator_cloud.put_model("tenant-001", models.detect(labels=("weed", "pot")))
    assert get().source.generation == new
    emulator_cloud.models.blob(PATH).delete()
    with pytest.raises(ModelNotFound):
        get()


def test_loading_writes_nothing_to_disk(
    emulator_cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.chdir(tmp_path)
    Path("tmp").mkdir()
    emulator_cloud.put_model("tenant-001", models.detect(ballast=200_000))
    get()

    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("status", [400, 401, 403, 409, 429, 500, 502, 503])
def test_http_error_of_storage_is_not_a_missing_model(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted_server.serve_responses(scripted_server.Response(status)) as (url, _):
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
        ModelCache.configure(ObjectStore(project="p", call_timeout_s=0.1), bucket="b")
        with pytest.raises(StorageUnavailable):
            get()

    assert ModelCache.keys() == []


def test_file_with_a_wrong_checksum_is_not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    headers = {"x-goog-generation": "17", "x-goog-hash": "crc32c=AAAAAA=="}
    with scripted_server.serve_responses(scripted_server.Response(body=models.detect(), headers=headers)) as (
        url,
        _,
    ):
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
        ModelCache.configure(ObjectStore(project="p", call_timeout_s=1), bucket="b")
        with pytest.raises(StorageUnavailable, match="damaged"):
            get()

    assert ModelCache.keys() == []


def test_cache_is_empty_before_configure(root: Path) -> None:
    script = (
        "from shared.ml.model_cache import ModelCache as C; C.clear_cache(); print(C.keys(), C.stats().models)"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=root)

    assert run.stdout == "[] 0\n"


def test_time_that_storage_takes_is_not_limited_as_loading_is(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[object] = []
    store.put(PATH, models.detect())
    read = store.read

    def begin(name: str, limit_s: float) -> Callable[[], None]:
        events.append((name, limit_s))
        return lambda: events.append("end")

    def recorded_read(*args: Any, **options: Any) -> Any:
        events.append("read")
        return read(*args, **options)

    monkeypatch.setattr(activity, "_listener", begin)
    monkeypatch.setattr(store, "read", recorded_read)

    get()

    name = "model detect"
    assert events == [(name, math.inf), "read", "end", (name, model_cache.MAX_LOAD_S), "end"]
