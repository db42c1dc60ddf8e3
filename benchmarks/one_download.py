"""Check that fifty threads that request the same uncached model share one download, and time their wait."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from benchmarks.network import detect_model
from benchmarks.table import Figure, Table
from shared.ml.model_cache import ModelCache
from shared.ml.onnx_model import OnnxModel
from testing.memory_store import MemoryStore

TENANT: Final = "tenant-001"
PATH: Final = f"models/{TENANT}/detect.onnx"
THREADS: Final = 50
TIMEOUT_S: Final = 30.0


def run(threads: int = THREADS) -> Table:
    store = MemoryStore()
    store.put(PATH, detect_model()[0])
    ModelCache.configure(store, bucket="benchmark")
    try:
        alone_ms = _time_one_thread(store)
        models, took_ms = _time_all_threads(store, threads)
        stats = ModelCache.stats()
    finally:
        ModelCache.clear_cache()
    return Table(
        f"{threads} threads ask for one model that is not in the cache",
        [
            Figure("downloads", store.calls["read", PATH], "times", 1, is_invariant=True),
            Figure(
                "sessions they were answered with",
                len({id(model) for model in models}),
                "times",
                1,
                is_invariant=True,
            ),
            Figure("waited for another's download", stats.waits, "times"),
            Figure("from the download's end until all had it", took_ms, "ms"),
            Figure("one thread alone", alone_ms, "ms"),
        ],
    )


def _time_one_thread(store: MemoryStore) -> float:
    began = time.perf_counter()
    _get()
    took_ms = (time.perf_counter() - began) * 1000
    ModelCache.clear_cache()
    store.calls.clear()
    return took_ms


def _time_all_threads(store: MemoryStore, threads: int) -> tuple[list[OnnxModel], float]:
    """Block the download until every thread has requested the model, and time what follows."""
    gate = store.gate(PATH)
    start = threading.Barrier(threads)

    def load() -> OnnxModel:
        start.wait(TIMEOUT_S)
        return _get()

    with ThreadPoolExecutor(threads) as pool:
        futures = [pool.submit(load) for _ in range(threads)]
        deadline = time.monotonic() + TIMEOUT_S
        while ModelCache.stats().waits + store.calls["read", PATH] < threads and time.monotonic() < deadline:
            time.sleep(0.001)
        began = time.perf_counter()
        gate.set()
        models = [future.result(TIMEOUT_S) for future in futures]
    return models, (time.perf_counter() - began) * 1000


def _get() -> OnnxModel:
    return ModelCache.get_model(tenant_id=TENANT, model_type="detect")


if __name__ == "__main__":
    print(run())
