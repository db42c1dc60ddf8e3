"""Fixtures for tests of code that takes a tenant's models from the ModelCache."""

from collections.abc import Iterator

import pytest

from shared.ml.model_cache import ModelCache
from testing.memory_store import MemoryStore, PutModel

TENANT = "tenant-001"


@pytest.fixture
def put_model() -> Iterator[PutModel]:
    """Return a function that stores a file as a model of tenant-001, in a store of its own."""
    store = MemoryStore()
    ModelCache.configure(store, bucket="b", threads=1, refresh_s=0.0)

    def put(data: bytes, model_type: str = "detect") -> int:
        return store.put(f"models/{TENANT}/{model_type}.onnx", data)

    yield put
    ModelCache.clear_cache()
