"""Serve models from memory to the benchmarks, and make the bare runs that they are compared with."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager

import numpy as np

from shared.ml.model_cache import ModelCache
from shared.ml.output_layout import ModelType
from testing.memory_store import MemoryStore


@contextmanager
def serving(models: Mapping[tuple[str, ModelType], bytes]) -> Generator[None]:
    """Configure the ModelCache with these files by tenant and model type, and clear it afterwards."""
    store = MemoryStore()
    for (tenant_id, model_type), data in models.items():
        store.put(f"models/{tenant_id}/{model_type}.onnx", data)
    ModelCache.configure(store, bucket="benchmark", refresh_s=86_400.0)
    try:
        yield
    finally:
        ModelCache.clear_cache()


def bare_run(tenant_id: str, model_type: ModelType) -> Callable[[], object]:
    """Return a function that calls `session.run` of the tenant's model and nothing else, on all threads."""
    model = ModelCache.get_model(tenant_id=tenant_id, model_type=model_type)
    batch = np.random.default_rng(5).random((1, 3, *model.export.canvas_hw), np.float32)
    session = model._session  # noqa: SLF001 - a bare run bypasses the methods of the model
    return lambda: session.run(None, {model.export.input_name: batch})
