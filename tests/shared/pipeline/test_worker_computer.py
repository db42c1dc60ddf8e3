"""WorkerComputer: whatever a job does to its worker ends in a verdict on its cause, and others are served."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.cloud.tenant_store import TenantStores
from shared.config import Config
from shared.errors import (
    DeadlineExceeded,
    InvalidModel,
    ModelNotFound,
    StorageUnavailable,
    UnsupportedImage,
)
from shared.events import ImageVersion
from shared.ml.model_cache import ModelCache
from shared.pipeline.compute import InProcess
from shared.pipeline.definitions import BUILT_IN, Plan
from shared.pipeline.job import Computed, Job, Models
from shared.pipeline.worker_computer import WorkerBug, WorkerComputer, _read_model
from shared.runtime import deadline
from shared.runtime.event_record import event_record
from testing import hostile_graphs, models
from testing.memory_store import MemoryStore
from testing.pictures import picture

CONFIG = Config(gcs_bucket="models-bucket", error_topic="errors", model_refresh_s=0.0, max_run_s=1.0)
MEMORY_BYTES = 512 * 2**20
TENANT = "tenant-001"


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore()
    store.put(f"models/{TENANT}/detect.onnx", models.detect())
    return store


@pytest.fixture
def computer(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[WorkerComputer]:
    for name, value in {"GCS_BUCKET": "models-bucket", "ERROR_TOPIC": "errors", "MAX_RUN_SECONDS": "1"}.items():
        monkeypatch.setenv(name, value)
    computer = WorkerComputer(store, CONFIG, workers=2, memory_bytes=MEMORY_BYTES)
    yield computer
    computer.close()


def compute(
    computer: WorkerComputer | InProcess,
    image: bytes | None = None,
    *,
    tenant_id: str = TENANT,
    definition: dict[str, Any] | None = None,
) -> Computed:
    """Compute a job as the runner does."""
    definition = definition or BUILT_IN["detect"]
    prepared = computer.prepare(tenant_id, Plan.from_definition(definition, CONFIG))
    version = ImageVersion("uploads", f"uploads/{tenant_id}/a.jpg", 7)
    return computer.compute(Job(tenant_id, version, "mine", definition, prepared), image or picture())


def test_worker_computes_the_same_bytes_as_this_process(store: MemoryStore, computer: WorkerComputer) -> None:
    ModelCache.configure(store, bucket="models-bucket", refresh_s=0.0)

    expected = compute(InProcess(CONFIG))
    computed = compute(computer)

    assert computed.findings == expected.findings
    assert computed.pictures == expected.pictures
    assert (computed.models, computed.counts) == ({"detect": 1000}, expected.counts)
    ModelCache.clear_cache()


def test_stages_cache_lookup_and_counts_of_the_worker_are_recorded(computer: WorkerComputer) -> None:
    with event_record() as record:
        compute(computer)
        compute(computer)

    assert {"decode", "model", "infer", "draw"} <= set(record.timings_ms)
    assert record.fields["model_cache"] in {"hit", "miss"}
    assert computer.cache_stats()["loads"] == 1
    assert computer.cache_stats()["models"] == 1


def test_missing_model_is_not_found_without_a_worker(computer: WorkerComputer) -> None:
    with pytest.raises(ModelNotFound, match="'detect' not found for tenant 'tenant-002'"):
        compute(computer, tenant_id="tenant-002")


@pytest.mark.parametrize(
    ("image", "error"),
    [(b"", "invalid_image"), (b"P6 1 1 255 rgb", "unsupported_image"), (picture()[:500], "invalid_image")],
    ids=["empty file", "PPM", "truncated JPEG"],
)
def test_error_of_the_image_is_raised_as_in_this_process(
    computer: WorkerComputer, image: bytes, error: str
) -> None:
    version = ImageVersion("uploads", "uploads/tenant-001/a.jpg", 7)
    job = Job(TENANT, version, "detect", BUILT_IN["detect"], Models(computer.live_models(TENANT, ("detect",))))

    with pytest.raises(Exception, match=r"\w") as raised:
        computer.compute(job, image)

    assert getattr(raised.value, "error", None) == error


def test_new_generation_of_a_model_is_used_by_warm_workers(store: MemoryStore, computer: WorkerComputer) -> None:
    compute(computer)
    generation = store.put(f"models/{TENANT}/detect.onnx", models.detect(labels=("weed", "tray")))

    computed = compute(computer)

    assert computed.models == {"detect": generation}
    assert b"weed" in computed.findings


def test_new_generation_that_is_no_model_leaves_the_old_one_in_use(
    store: MemoryStore, computer: WorkerComputer
) -> None:
    before = compute(computer)
    store.put(f"models/{TENANT}/detect.onnx", b"no model")

    assert compute(computer).models == before.models


def test_deleted_model_is_not_found_although_a_worker_has_it(store: MemoryStore, computer: WorkerComputer) -> None:
    compute(computer)
    store.remove(f"models/{TENANT}/detect.onnx")

    with pytest.raises(ModelNotFound):
        compute(computer)


def test_run_that_no_operator_ends_is_killed_and_its_generation_rejected(
    store: MemoryStore, computer: WorkerComputer
) -> None:
    store.put(f"models/{TENANT}/detect.onnx", hostile_graphs.slow_operator())

    with pytest.raises(InvalidModel, match=r"model detect took more than 1 s"), deadline.fail_after(60):
        compute(computer)

    with pytest.raises(InvalidModel, match=r"model detect took more than 1 s"):
        compute(computer)


def test_rejected_generation_ends_with_the_next_upload(store: MemoryStore, computer: WorkerComputer) -> None:
    store.put(f"models/{TENANT}/detect.onnx", hostile_graphs.slow_operator())
    with pytest.raises(InvalidModel), deadline.fail_after(60):
        compute(computer)

    store.put(f"models/{TENANT}/detect.onnx", models.detect())

    assert compute(computer).counts


def test_model_that_needs_more_memory_than_an_event_may_have_is_rejected(
    store: MemoryStore, computer: WorkerComputer
) -> None:
    """Its weights are read, and copied into a session: three times their size at once."""
    weights = {"weights": np.zeros(MEMORY_BYTES // 12, np.float32)}
    store.put(f"models/{TENANT}/detect.onnx", hostile_graphs.depending_on("weights", constants=weights))

    with pytest.raises(InvalidModel, match=r"model detect needs more than 512 MiB of memory"):
        compute(computer)


def test_deadline_of_the_event_ends_a_worker(store: MemoryStore, computer: WorkerComputer) -> None:
    compute(computer)
    store.put(f"models/{TENANT}/detect.onnx", hostile_graphs.slow_operator())

    with pytest.raises(DeadlineExceeded), deadline.fail_after(0.5):
        compute(computer)


def test_worker_killed_from_outside_is_repeated_unseen(computer: WorkerComputer) -> None:
    with event_record():
        compute(computer)
    worker = next(iter(computer._stats))
    threading.Timer(0.01, os.kill, (worker, signal.SIGKILL)).start()

    for _ in range(20):
        assert compute(computer).counts


def test_bug_in_a_worker_carries_its_traceback(computer: WorkerComputer) -> None:
    version = ImageVersion("uploads", "uploads/tenant-001/a.jpg", 7)

    with pytest.raises(WorkerBug, match=r"Traceback[\s\S]*KeyError"):
        computer.compute(Job(TENANT, version, "mine", {"steps": [{"step": "unknown"}]}, Models({})), picture())


@pytest.mark.parametrize(
    "change",
    [
        {"cache": 5},
        {"cache": {"hits": "many"}},
        {"worker": []},
        {"stages_s": []},
        {"sizes": [-1]},
        {"sizes": [2, -1]},
        {"sizes": [10**6]},
        {"sizes": []},
    ],
    ids=str,
)
def test_malformed_reply_fails_its_own_event_only(
    computer: WorkerComputer, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    before = compute(computer).findings
    call = computer._pool.call

    def malformed(*args: Any, **options: Any) -> tuple[dict[str, Any], list[int]]:
        reply, files = call(*args, **options)
        part = reply["computed"] if "sizes" in change else reply
        part.update(change)
        return reply, files

    with monkeypatch.context() as context:
        context.setattr(computer._pool, "call", malformed)
        with pytest.raises(Exception, match=r"\w"):
            compute(computer)

    assert compute(computer).findings == before
    assert computer.cache_stats()["models"] == 1


def test_worker_replaces_no_field_of_the_event(computer: WorkerComputer, monkeypatch: pytest.MonkeyPatch) -> None:
    call = computer._pool.call

    def renaming(*args: Any, **options: Any) -> tuple[dict[str, Any], list[int]]:
        reply, files = call(*args, **options)
        reply["fields"]["tenant_id"] = "tenant-002"
        return reply, files

    monkeypatch.setattr(computer._pool, "call", renaming)
    with event_record() as record:
        record.add_fields(tenant_id=TENANT)
        compute(computer)

    assert record.fields["tenant_id"] == TENANT


def test_cache_counts_are_those_of_living_workers(computer: WorkerComputer) -> None:
    for _ in range(4):
        compute(computer)
        for pid in list(computer._stats):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)

    assert len(computer._stats) <= 2


def test_idle_worker_holds_no_file_of_a_job_that_failed(computer: WorkerComputer) -> None:
    with pytest.raises(UnsupportedImage):
        compute(computer, b"no image")

    [pid] = computer._stats
    open_files = [str(each.readlink()) for each in Path(f"/proc/{pid}/fd").iterdir()]
    assert [each for each in open_files if each.startswith("/memfd:tenant-vision")] == []


def test_storage_failure_while_a_model_is_read_defers(store: MemoryStore, computer: WorkerComputer) -> None:
    store.failures["read", f"models/{TENANT}/detect.onnx"] = StorageUnavailable("storage is down")

    with pytest.raises(StorageUnavailable, match="storage is down"):
        compute(computer)


def test_worker_cannot_read_another_tenants_model(store: MemoryStore, computer: WorkerComputer) -> None:
    store.put("models/tenant-002/detect.onnx", models.detect())
    own = TenantStores(store, models="models-bucket").of(TENANT)
    version = ImageVersion("uploads", "uploads/tenant-001/a.jpg", 7)
    job = Job(TENANT, version, "detect", BUILT_IN["detect"], Models({"detect": 1}))

    for name in ("models/tenant-002/detect.onnx", f"models/{TENANT}/pipelines.json", "", None):
        assert _read_model(own, job, {"ask": "read", "name": name}, max_bytes=10**9) == ({"not_found": True}, [])


def test_neighbours_of_hostile_models_get_the_same_results(store: MemoryStore, computer: WorkerComputer) -> None:
    expected = compute(computer).findings
    store.put("models/hostile/detect.onnx", hostile_graphs.slow_operator())
    with ThreadPoolExecutor() as threads, deadline.fail_after(60):
        hostile = threads.submit(_swallow, computer)
        started = time.monotonic()
        results = {compute(computer).findings for _ in range(10)}
        assert time.monotonic() - started < 30
        hostile.result()

    assert results == {expected}


def _swallow(computer: WorkerComputer) -> None:
    with pytest.raises((InvalidModel, DeadlineExceeded)):
        compute(computer, tenant_id="hostile")


def test_findings_are_one_json_object(computer: WorkerComputer) -> None:
    findings = json.loads(compute(computer).findings)

    assert (findings["tenant_id"], findings["counts"]) == (TENANT, {"plant": 1, "tray": 1})


def test_worker_gets_no_model_above_the_limit_whatever_it_asks_for(store: MemoryStore) -> None:
    own = TenantStores(store, models="models-bucket").of(TENANT)
    version = ImageVersion("uploads", "uploads/tenant-001/a.jpg", 7)
    job = Job(TENANT, version, "detect", BUILT_IN["detect"], Models({"detect": 1}))
    question = {"ask": "read", "name": f"models/{TENANT}/detect.onnx", "generation": True, "max_bytes": 10**12}

    answer, files = _read_model(own, job, question, max_bytes=10)

    assert (answer["generation"], files) == (1000, [])
