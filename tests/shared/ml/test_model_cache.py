"""ModelCache under threads: one load for all who wait, no failure kept, nobody else's model, renewed in place."""

import gc
import logging
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from shared.cloud.object_store import ObjectStore
from shared.errors import DeadlineExceeded, InvalidModel, ModelNotFound, StorageUnavailable
from shared.ml import model_cache
from shared.ml.model_cache import ModelCache
from shared.ml.model_checks import ModelLimits
from shared.ml.onnx_model import ModelSource, OnnxModel
from shared.processors.detector_processor import DetectorProcessor
from shared.runtime import deadline
from shared.runtime.event_record import event_record
from testing import models, scripted_server
from testing.memory_store import MemoryStore

PATH = "models/tenant-001/detect.onnx"
OTHER = "models/tenant-002/detect.onnx"


@pytest.fixture
def store():
    store = MemoryStore()
    configure(store)
    yield store
    for gate in store.gates.values():
        gate.set()
    ModelCache.clear_cache()


def configure(store, refresh_s=60.0, **options):
    ModelCache.configure(store, bucket="b", threads=1, refresh_s=refresh_s, **options)


def get(tenant_id="tenant-001", model_type="detect", worker_id=0):
    return ModelCache.get_model(tenant_id=tenant_id, model_type=model_type, worker_id=worker_id)


def until(condition, timeout_s=10):
    ends = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.002)


@pytest.fixture
def impatient(store):
    configure(store, refresh_s=0.0)
    return store


# Loading


def test_an_empty_cache_holds_nothing(store):
    assert ModelCache.keys() == []
    stats = ModelCache.stats()
    assert (stats.hits, stats.misses, stats.waits, stats.loads, stats.models, stats.bytes) == (0, 0, 0, 0, 0, 0)


def test_a_model_is_loaded_once_and_kept_under_its_key(store):
    data = models.detect()
    generation = store.put(PATH, data)
    model = get()
    assert get() is model
    assert ModelCache.keys() == ["tenant-001_detect_worker_0"]
    assert (model.source.uri, model.source.generation) == (f"gs://b/{PATH}", generation)
    assert store.calls == {("read", PATH): 1}
    stats = ModelCache.stats()
    assert (stats.hits, stats.misses, stats.loads, stats.models, stats.bytes) == (1, 1, 1, 1, len(data))


def test_fifty_threads_one_download(store):
    store.put(PATH, models.detect())
    gate = store.gate(PATH)
    with ThreadPoolExecutor(50) as pool:
        futures = [pool.submit(get) for _ in range(50)]
        until(lambda: ModelCache.stats().waits == 49)
        gate.set()
        found = {id(future.result(20)) for future in futures}
    assert len(found) == 1
    assert store.calls["read", PATH] == 1
    stats = ModelCache.stats()
    assert (stats.misses, stats.waits, stats.loads, stats.models) == (1, 49, 1, 1)


def test_others_load_side_by_side_while_one_is_slow(store):
    store.put(PATH, models.detect())
    store.put(OTHER, models.detect())
    gate = store.gate(PATH)
    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(get)
        assert store.entered.acquire(timeout=10)
        assert pool.submit(get, "tenant-002").result(10).source.uri == f"gs://b/{OTHER}"
        assert get("tenant-002"), "nor does a hit wait"
        assert not slow.done()
        gate.set()
        assert slow.result(10).source.uri == f"gs://b/{PATH}"


def test_workers_have_models_of_their_own_of_the_same_file(store):
    store.put(PATH, models.detect())
    assert get(worker_id=0) is not get(worker_id=1)
    assert ModelCache.keys() == ["tenant-001_detect_worker_0", "tenant-001_detect_worker_1"]


def test_names_that_could_be_mistaken_are_kept_apart(store):
    """`a-1` of worker 1 and `a` of another: no two tenants share a key."""
    for tenant_id in ("a", "a-1", "a1", "1", "a-detect-worker-0"):
        store.put(f"models/{tenant_id}/detect.onnx", models.detect(labels=(tenant_id,), boxes=()))
    for tenant_id in ("a", "a-1", "a1", "1", "a-detect-worker-0"):
        assert get(tenant_id).export.labels == (tenant_id,)
    assert len(set(ModelCache.keys())) == 5


@pytest.mark.parametrize(
    ("what", "argument"),
    [
        *(
            ("tenant_id", each)
            for each in ("", "A", "-a", "a-", "a_b", "../b", "a/b", "a" * 64, "ä", "a\n", "a.b", "\u0663")
        ),
        *(("model_type", each) for each in ("", "Detect", "pose", "../detect", "detect.onnx", "detect\n")),
        *(("worker_id", each) for each in (-1, 0.0, 1.5, "0", "../0", None, True)),
    ],
)
def test_an_argument_that_could_reach_elsewhere_is_refused_before_any_storage(what, argument, store):
    with pytest.raises(ValueError, match=what):
        get(**{what: argument})
    with pytest.raises(ValueError, match=what):
        ModelCache.generation(**{"tenant_id": "a", "model_type": "detect", "worker_id": 0, what: argument})
    assert not store.calls


@pytest.mark.parametrize("tenant_id", ["a", "0", "a-b", "tenant-001", "a" * 63, "a--b"])
def test_a_tenant_id_is_up_to_63_letters_digits_and_inner_hyphens(tenant_id, store):
    store.put(f"models/{tenant_id}/detect.onnx", models.detect())
    assert get(tenant_id)


# Failing


def test_a_missing_model_is_a_file_not_found_in_the_contract_s_words(store):
    store.put(OTHER, models.detect())
    get("tenant-002")
    with pytest.raises(FileNotFoundError, match=r"^Model 'detect' not found for tenant 'tenant-001'$") as caught:
        get()
    assert isinstance(caught.value, ModelNotFound)
    assert ModelCache.keys() == ["tenant-002_detect_worker_0"], "another's model stays"


@pytest.mark.parametrize("model_type", ["detect", "segment", "classify"])
def test_each_type_has_its_own_file_and_no_other_stands_in(model_type, store):
    for other in {"detect", "segment", "classify"} - {model_type}:
        store.put(f"models/tenant-001/{other}.onnx", models.detect())
    with pytest.raises(ModelNotFound, match=f"Model '{model_type}' not found"):
        get(model_type=model_type)
    assert store.calls == {("read", f"models/tenant-001/{model_type}.onnx"): 1}


@pytest.mark.parametrize(
    "failure", [StorageUnavailable("x"), DeadlineExceeded("x"), MemoryError(), RuntimeError("x")]
)
def test_what_is_not_a_404_is_not_a_missing_model_and_is_not_kept(failure, store):
    store.put(PATH, models.detect())
    store.failures["read", PATH] = failure
    with pytest.raises(type(failure)) as caught:
        get()
    assert not isinstance(caught.value, FileNotFoundError)
    assert (ModelCache.keys(), ModelCache.stats().models) == ([], 0)
    store.failures.clear()
    assert get().source.uri == f"gs://b/{PATH}"


def test_a_broken_file_is_not_kept_and_a_good_one_is_taken_at_once(impatient):
    store = impatient
    for data in (b"", b"no model", models.detect(metadata={"task": "segment"})):
        store.put(PATH, data)
        with pytest.raises(InvalidModel):
            get()
    assert ModelCache.keys() == []
    store.put(PATH, models.detect())
    assert get()


def test_a_model_uploaded_after_a_miss_is_found(impatient):
    store = impatient
    with pytest.raises(ModelNotFound):
        get()
    store.put(PATH, models.detect())
    assert get()
    assert ModelCache.stats().failures == 1


@pytest.mark.parametrize("failure", [None, StorageUnavailable("x"), KeyError("a bug")])
def test_those_who_wait_get_the_failure_and_those_who_come_after_try_again(failure, impatient):
    store = impatient
    if failure:
        store.failures["read", PATH] = failure
    gate = store.gate(PATH)
    with ThreadPoolExecutor(5) as pool:
        futures = [pool.submit(get) for _ in range(5)]
        until(lambda: ModelCache.stats().waits == 4)
        gate.set()
        errors = [future.exception(20) for future in futures]
    assert {type(error) for error in errors} == {type(failure) if failure else ModelNotFound}
    assert store.calls["read", PATH] == 1
    store.failures.clear()
    store.put(PATH, models.detect())
    assert get()


# What is not there, for a while


def test_a_flood_of_requests_for_a_missing_model_asks_storage_once(store):
    for _ in range(50):
        with pytest.raises(ModelNotFound, match=r"^Model 'detect' not found for tenant 'tenant-001'$"):
            get()
    assert store.calls == {("read", PATH): 1}


def test_so_does_one_for_a_file_that_is_no_model(store):
    store.put(PATH, models.detect(metadata={"task": "segment"}))
    for _ in range(50):
        with pytest.raises(InvalidModel, match="for the task 'segment'"):
            get()
    assert store.calls == {("read", PATH): 1}


def test_what_storage_may_tell_next_time_is_asked_next_time(store):
    store.failures["read", PATH] = StorageUnavailable("x")
    for _ in range(3):
        with pytest.raises(StorageUnavailable):
            get()
    assert store.calls == {("read", PATH): 3}


def test_an_upload_ends_it_within_the_time(store, monkeypatch):
    monkeypatch.setattr(model_cache, "NEGATIVE_CACHE_TTL_S", 0.2)
    configure(store)
    with pytest.raises(ModelNotFound):
        get()
    store.put(PATH, models.detect())
    with pytest.raises(ModelNotFound):
        get()
    time.sleep(0.25)
    assert get()


def test_and_at_once_where_somebody_knows_of_it(store):
    with pytest.raises(ModelNotFound):
        get()
    store.put(PATH, models.detect())
    ModelCache.expire(tenant_id="tenant-001", model_types=["detect"])
    assert get()


def test_a_missing_model_is_remembered_for_its_own_tenant_and_type_only(store):
    store.put(OTHER, models.detect())
    for _ in range(2):
        with pytest.raises(ModelNotFound):
            get()
    assert get("tenant-002")


def test_what_is_remembered_holds_nothing_of_those_who_asked(store):
    store.put(PATH, b"no model")

    def ask(picture):
        with pytest.raises(InvalidModel):
            get()
        return weakref.ref(picture)

    asked = [ask(np.zeros(10)) for _ in range(3)]
    gc.collect()
    assert [each() for each in asked] == [None] * 3


def test_a_file_of_too_many_bytes_is_not_downloaded(store):
    data = models.detect()
    store.put(PATH, data)
    configure(store, limits=ModelLimits(max_bytes=len(data) - 1))
    with pytest.raises(InvalidModel, match=f"^detect.onnx has more than {len(data) - 1} bytes, the limit$"):
        get()
    configure(store, limits=ModelLimits(max_bytes=len(data)))
    assert get()


# Room


def weight(data):
    return OnnxModel(data, model_type="detect", source=ModelSource("", 1, "")).size_bytes


SMALL = models.detect()
TENANTS = [f"tenant-{index:03}" for index in range(6)]


@pytest.fixture
def crowded(store):
    """Room for four of the six tenants' models."""
    for tenant in TENANTS:
        store.put(f"models/{tenant}/detect.onnx", SMALL)
    configure(store, cache_bytes=4 * weight(SMALL) + 100)
    return store


def here():
    held = ModelCache.keys()
    return [key.removesuffix("_detect_worker_0") for key in held]


def test_without_a_budget_nobody_leaves(store):
    for tenant in TENANTS:
        store.put(f"models/{tenant}/detect.onnx", SMALL)
        get(tenant)
    assert here() == TENANTS


def test_the_least_recently_used_leaves(crowded):
    for tenant in TENANTS[:4]:
        get(tenant)
    get(TENANTS[0])
    get(TENANTS[4])
    assert here() == [TENANTS[0], TENANTS[2], TENANTS[3], TENANTS[4]]
    assert ModelCache.stats().evictions == 1


def test_a_model_in_use_stays_however_long_ago_it_was_asked_for(crowded):
    processor = DetectorProcessor(tenant_id=TENANTS[0])
    for tenant in TENANTS[1:]:
        get(tenant)
    assert here() == [TENANTS[0], *TENANTS[3:]]
    del processor
    gc.collect()
    get(TENANTS[1])
    assert TENANTS[0] not in here()


def test_where_all_are_in_use_the_new_one_is_served_and_not_kept(crowded):
    processors = [DetectorProcessor(tenant_id=tenant) for tenant in TENANTS[:4]]
    assert get(TENANTS[4])
    assert here() == TENANTS[:4]
    assert get(TENANTS[4])
    assert crowded.calls["read", f"models/{TENANTS[4]}/detect.onnx"] == 2
    del processors


@pytest.mark.parametrize(
    "data", [None, b"no model", models.detect(metadata={"task": "segment"}), models.detect(ballast=100_000)]
)
def test_a_model_that_is_missing_or_refused_or_does_not_fit_evicts_nobody(data, crowded):
    for tenant in TENANTS[:4]:
        get(tenant)
    path = f"models/{TENANTS[5]}/detect.onnx"
    crowded.remove(path)
    if data is not None:
        crowded.put(path, data)
    try:
        get(TENANTS[5])
    except (ModelNotFound, InvalidModel):
        assert data is None or len(data) < 10_000
    assert here() == TENANTS[:4]
    assert ModelCache.stats().evictions == 0


def test_one_tenant_cannot_push_out_the_others(crowded):
    for tenant in TENANTS[:3]:
        get(tenant)
    for worker in range(10):
        get(TENANTS[3], worker_id=worker)
    own = [TENANTS[3] in key for key in here()]
    assert sorted(own) == [False, False, True, True]


def test_a_generation_that_grew_takes_room_or_goes(crowded):
    configure(crowded, refresh_s=0.0, cache_bytes=4 * weight(SMALL) + 100)
    for tenant in TENANTS[:4]:
        get(tenant)
    crowded.put(f"models/{TENANTS[0]}/detect.onnx", models.detect(ballast=4000))
    get(TENANTS[0])
    assert here() == [TENANTS[0], TENANTS[2], TENANTS[3]]
    new = crowded.put(f"models/{TENANTS[0]}/detect.onnx", models.detect(ballast=1_000_000))
    assert get(TENANTS[0]).source.generation == new
    assert here() == TENANTS[2:4]


def test_many_threads_stay_within_the_budget_and_are_all_served(crowded):
    budget = 4 * weight(SMALL) + 100

    def serve(number):
        for turn in range(30):
            tenant = TENANTS[(number * 7 + turn * turn) % 6]
            processor = DetectorProcessor(tenant_id=tenant)
            assert processor.model.source.uri == f"gs://b/models/{tenant}/detect.onnx"
            assert len(ModelCache.keys()) * weight_of_one <= budget
        return True

    weight_of_one = weight(SMALL)
    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(serve, range(6)))


# Forgetting


def test_who_waits_for_another_s_load_waits_no_longer_than_its_own_event_may_take(store):
    store.put(PATH, models.detect())
    gate = store.gate(PATH)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(get)
        assert store.entered.acquire(timeout=10)
        with deadline.fail_after(0.05), pytest.raises(DeadlineExceeded):
            get()
        gate.set()
        assert first.result(10) is get()


def test_clear_cache_forgets_models_and_counts(store):
    store.put(PATH, models.detect())
    first = get()
    ModelCache.clear_cache()
    assert (ModelCache.keys(), ModelCache.stats().loads, ModelCache.stats().bytes) == ([], 0, 0)
    assert get() is not first


def test_a_load_under_way_when_all_is_forgotten_answers_its_callers_and_is_not_kept(store):
    store.put(PATH, models.detect())
    gate = store.gate(PATH)
    with ThreadPoolExecutor(3) as pool:
        old = [pool.submit(get), pool.submit(get)]
        until(lambda: ModelCache.stats().waits == 1)
        ModelCache.clear_cache()
        assert store.entered.acquire(timeout=10)
        new = pool.submit(get)
        assert store.entered.acquire(timeout=10), "who comes after the clearing loads anew"
        gate.set()
        models_found = [future.result(10) for future in (*old, new)]
    assert models_found[0] is models_found[1]
    assert models_found[2] is not models_found[0]
    assert get() is models_found[2]


def test_configure_forgets_what_came_from_elsewhere(store):
    store.put(PATH, models.detect())
    get()
    elsewhere = MemoryStore()
    configure(elsewhere)
    with pytest.raises(ModelNotFound):
        get()


# Renewing


def test_within_the_refresh_time_storage_is_not_asked(store):
    store.put(PATH, models.detect())
    first = get()
    store.put(PATH, models.detect())
    assert get() is first
    assert store.calls == {("read", PATH): 1}


def test_an_unchanged_model_is_kept_after_a_look_at_its_metadata(impatient):
    impatient.put(PATH, models.detect())
    first = get()
    assert get() is first
    assert impatient.calls == {("read", PATH): 1, ("changed", PATH): 1}
    assert ModelCache.stats().refreshes == 0


def test_a_new_generation_takes_the_place_of_the_old_one(impatient):
    old = impatient.put(PATH, models.detect())
    first = get()
    new = impatient.put(PATH, models.detect(labels=("weed", "pot"), ballast=4000))
    assert (first.source.generation, get().source.generation) == (old, new)
    assert get().export.labels == ("weed", "pot")
    stats = ModelCache.stats()
    assert (stats.refreshes, stats.models, stats.bytes) == (1, 1, len(impatient.data(PATH)))


def test_the_old_model_serves_while_the_new_one_is_loaded(impatient):
    impatient.put(PATH, models.detect())
    first = get()
    new = impatient.put(PATH, models.detect())
    gate = impatient.gate(PATH)
    with ThreadPoolExecutor(1) as pool:
        renewing = pool.submit(get)
        assert impatient.entered.acquire(timeout=10)
        assert [get() for _ in range(5)] == [first] * 5
        gate.set()
        assert renewing.result(10).source.generation == new
    assert impatient.calls["read", PATH] == 2


def test_a_refresh_that_fails_keeps_the_old_model_says_so_and_tries_again(impatient, caplog):
    old = impatient.put(PATH, models.detect())
    get()
    impatient.put(PATH, models.detect())
    for verb in ("changed", "read"):
        impatient.failures[verb, PATH] = StorageUnavailable("Storage did not serve it")
        with caplog.at_level(logging.WARNING, "shared"):
            assert get().source.generation == old
        assert f"keeping generation {old}" in caplog.messages[-1]
        assert "tenant-001_detect_worker_0" in caplog.messages[-1]
    assert ModelCache.stats().failures == 2
    impatient.failures.clear()
    assert get().source.generation > old


def test_a_failed_refresh_is_not_repeated_by_every_request(store):
    configure(store, refresh_s=0.2)
    store.put(PATH, models.detect())
    get()
    time.sleep(0.25)
    store.failures["changed", PATH] = StorageUnavailable("x")
    for _ in range(20):
        get()
    assert store.calls["changed", PATH] == 1


@pytest.mark.parametrize("data", [b"", b"no model", models.detect(metadata={"task": "segment"})])
def test_a_broken_upload_leaves_the_good_model_in_service(data, impatient, caplog):
    old = impatient.put(PATH, models.detect())
    get()
    impatient.put(PATH, data)
    assert get().source.generation == old
    assert caplog.messages
    new = impatient.put(PATH, models.detect())
    assert get().source.generation == new


@pytest.mark.parametrize("failure", [MemoryError(), KeyError("a bug")])
def test_a_refresh_that_fails_as_nobody_foresaw_keeps_the_old_model_too(failure, impatient):
    old = impatient.put(PATH, models.detect())
    get()
    impatient.put(PATH, models.detect())
    impatient.failures["read", PATH] = failure
    assert get().source.generation == old


def test_a_model_that_its_owner_deleted_serves_no_longer(impatient):
    impatient.put(PATH, models.detect())
    get()
    impatient.remove(PATH)
    with pytest.raises(ModelNotFound):
        get()
    assert ModelCache.keys() == []
    with pytest.raises(ModelNotFound):
        get()
    new = impatient.put(PATH, models.detect())
    assert get().source.generation == new


def test_many_threads_across_many_generations_never_go_back_in_time(impatient):
    impatient.put(PATH, models.detect())
    get()
    over = threading.Event()

    def watch():
        seen = []
        while not over.is_set():
            seen.append(get().source.generation)
        return seen

    with ThreadPoolExecutor(4) as pool:
        watchers = [pool.submit(watch) for _ in range(4)]
        for _ in range(10):
            last = impatient.put(PATH, models.detect())
            until(lambda: get().source.generation == last)  # noqa: B023 - called before the next turn
        over.set()
        histories = [watcher.result(20) for watcher in watchers]
    assert all(history == sorted(history) for history in histories)
    assert impatient.calls["read", PATH] == 11, "each generation is downloaded once"


# Generations, for the question whether work is done already


def test_the_generation_is_known_without_loading(store):
    generation = store.put(PATH, models.detect())
    assert ModelCache.generation(tenant_id="tenant-001", model_type="detect") == generation
    assert store.calls == {("stat", PATH): 1}
    assert ModelCache.keys() == []


def test_the_generation_of_a_loaded_model_is_that_of_the_model(store):
    old = store.put(PATH, models.detect())
    get()
    store.put(PATH, models.detect())
    assert ModelCache.generation(tenant_id="tenant-001", model_type="detect") == old


def test_the_generation_of_no_model_is_model_not_found(store):
    with pytest.raises(ModelNotFound):
        ModelCache.generation(tenant_id="tenant-001", model_type="detect")


# What a summary says


def test_an_event_is_as_cold_as_the_coldest_of_its_models(store):
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


# On the real store


@pytest.fixture
def real(cloud, emulators, monkeypatch):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", emulators.storage_url)
    ModelCache.configure(ObjectStore(project="p", call_timeout_s=10), bucket=cloud.models.name, refresh_s=0.0)
    yield cloud
    ModelCache.clear_cache()


def test_on_storage_load_renew_and_lose(real):
    with pytest.raises(ModelNotFound):
        get()
    old = real.put_model("tenant-001", models.detect())
    assert get().source.generation == old
    assert get().source.generation == old
    new = real.put_model("tenant-001", models.detect(labels=("weed", "pot")))
    assert get().source.generation == new
    real.models.blob(PATH).delete()
    with pytest.raises(ModelNotFound):
        get()


def test_nothing_is_written_to_disk(real, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.chdir(tmp_path)
    Path("tmp").mkdir()
    real.put_model("tenant-001", models.detect(ballast=200_000))
    get()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("status", [400, 401, 403, 409, 429, 500, 502, 503])
def test_storage_in_trouble_is_not_a_missing_model(status, monkeypatch):
    with scripted_server.serve_responses(scripted_server.Response(status)) as (url, _):
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
        ModelCache.configure(ObjectStore(project="p", call_timeout_s=0.1), bucket="b")
        with pytest.raises(StorageUnavailable):
            get()
    assert ModelCache.keys() == []


def test_bytes_damaged_in_transit_are_not_loaded(monkeypatch):
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


def test_before_it_is_configured_it_is_empty(root):
    words = "from shared.ml.model_cache import ModelCache as C; C.clear_cache(); print(C.keys(), C.stats().models)"
    run = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True, cwd=root)
    assert run.stdout == "[] 0\n"
