"""A tenant's models in a store in memory, for whatever takes them from the ModelCache."""

import pytest

from shared.ml.model_cache import ModelCache
from testing.memory_store import MemoryStore

TENANT = "tenant-001"


@pytest.fixture
def put_model():
    """Gives a function: a file and its type -> the generation it has as the model of tenant-001."""
    store = MemoryStore()
    ModelCache.configure(store, bucket="b", threads=1, refresh_s=0.0)
    yield lambda data, model_type="detect": store.put(f"models/{TENANT}/{model_type}.onnx", data)
    ModelCache.clear_cache()
