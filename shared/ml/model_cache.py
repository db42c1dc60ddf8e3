"""The global cache of tenants' models: each loaded once, kept between events, renewed when its owner uploads.

It never answers with another tenant's model, and never keeps a load that failed.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import ClassVar, Final, Protocol, get_args

from shared.cloud.objects import ObjectStat, StoredObject
from shared.errors import ModelNotFound, ObjectNotFound
from shared.ml.layout import ModelType
from shared.ml.onnx_model import ModelSource, OnnxModel
from shared.summary import current as summary
from shared.summary import stage

MODEL_TYPES: Final[tuple[ModelType, ...]] = get_args(ModelType)

_TENANT_ID: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_RETRY_S: Final = 10.0
_LOG: Final = logging.getLogger(__name__)


class ModelStore(Protocol):
    """What the cache needs of a store of objects; see `shared.cloud.object_store`."""

    def read(self, bucket: str, name: str) -> StoredObject: ...
    def stat(self, bucket: str, name: str) -> ObjectStat: ...
    def changed(self, bucket: str, name: str, *, generation: int) -> bool: ...


@dataclass(frozen=True, slots=True)
class CacheStats:
    """What the cache did since it was last cleared, and what it holds: bytes are those of the model files."""

    hits: int = 0
    misses: int = 0
    waits: int = 0
    loads: int = 0
    failures: int = 0
    refreshes: int = 0
    models: int = 0
    bytes: int = 0


@dataclass(slots=True)
class _Entry:
    model: OnnxModel
    fresh_until: float
    refreshing: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True, slots=True)
class _Key:
    tenant_id: str
    model_type: ModelType
    worker_id: int

    def __post_init__(self) -> None:
        if not _TENANT_ID.fullmatch(self.tenant_id):
            raise ValueError("tenant_id")
        if self.model_type not in MODEL_TYPES:
            raise ValueError("model_type")
        if type(self.worker_id) is not int or self.worker_id < 0:
            raise ValueError("worker_id")

    def __str__(self) -> str:
        return f"{self.tenant_id}_{self.model_type}_worker_{self.worker_id}"

    @property
    def path(self) -> str:
        return f"models/{self.tenant_id}/{self.model_type}.onnx"


class ModelCache:
    """Class-level state, shared by all threads and all events of this process. `configure` it once."""

    _store: ClassVar[ModelStore]
    _bucket: ClassVar[str]
    _threads: ClassVar[int] = 0
    _refresh_s: ClassVar[float] = 60.0

    _lock: ClassVar = threading.Lock()
    _entries: ClassVar[dict[str, _Entry]] = {}
    _loads: ClassVar[dict[str, Future[OnnxModel]]] = {}
    _stats: ClassVar[CacheStats] = CacheStats()

    @classmethod
    def configure(cls, store: ModelStore, *, bucket: str, threads: int = 0, refresh_s: float = 60.0) -> None:
        """Say where models come from; what was loaded from elsewhere is forgotten.

        `threads`: of one inference (0: this process's CPUs). `refresh_s`: how old an answer about a model's
        generation may be before storage is asked again.
        """
        cls.clear_cache()
        cls._store, cls._bucket, cls._threads, cls._refresh_s = store, bucket, threads, refresh_s

    @classmethod
    def get_model(cls, *, tenant_id: str, model_type: ModelType, worker_id: int = 0) -> OnnxModel:
        """The tenant's own model, from `models/{tenant_id}/{model_type}.onnx`, loaded at most once at a time.

        Raises:
            ModelNotFound: the tenant has none (a FileNotFoundError).
            InvalidModel: the tenant's file is not one that can be served.
            StorageUnavailable: storage did not tell.
            ValueError: an argument that could reach into another's path or key.
        """
        key = _Key(tenant_id, model_type, worker_id)
        with cls._lock:
            entry = cls._entries.get(str(key))
            load = None if entry else cls._loads.get(str(key))
            if not entry and not load:
                mine: Future[OnnxModel] = Future()
                cls._loads[str(key)] = mine
        if entry:
            return cls._refreshed(key, entry)
        if load:
            cls._count("waits")
            _note("wait")
            return load.result()
        cls._count("misses")
        _note("miss")
        return cls._load_for_all(key, mine)

    @classmethod
    def generation(cls, *, tenant_id: str, model_type: ModelType, worker_id: int = 0) -> int:
        """The generation `get_model` would answer with, without loading a model that is not there.

        Raises: as `get_model`.
        """
        key = _Key(tenant_id, model_type, worker_id)
        entry = cls._entries.get(str(key))
        if entry:
            return cls._refreshed(key, entry).source.generation
        try:
            return cls._store.stat(cls._bucket, key.path).generation
        except ObjectNotFound as error:
            raise ModelNotFound(tenant_id, model_type) from error

    @classmethod
    def clear_cache(cls) -> None:
        """Forget every model and every count. A load under way still answers those who wait for it."""
        with cls._lock:
            cls._entries = {}
            cls._loads = {}
            cls._stats = CacheStats()

    @classmethod
    def stats(cls) -> CacheStats:
        with cls._lock:
            models = [entry.model for entry in cls._entries.values()]
            return replace(cls._stats, models=len(models), bytes=sum(model.size for model in models))

    @classmethod
    def keys(cls) -> list[str]:
        """The keys of the models held, `{tenant_id}_{model_type}_worker_{worker_id}`."""
        with cls._lock:
            return sorted(cls._entries)

    @classmethod
    def _load_for_all(cls, key: _Key, load: Future[OnnxModel]) -> OnnxModel:
        """Load, and give the model or the failure to all who wait; only a model is kept."""
        try:
            model = cls._load(key)
        except BaseException as error:
            with cls._lock:
                if cls._loads.get(str(key)) is load:
                    del cls._loads[str(key)]
            cls._count("failures")
            load.set_exception(error)
            raise
        with cls._lock:
            if cls._loads.get(str(key)) is load:  # unless cleared meanwhile
                del cls._loads[str(key)]
                cls._entries[str(key)] = _Entry(model, time.monotonic() + cls._refresh_s)
        load.set_result(model)
        return model

    @classmethod
    def _refreshed(cls, key: _Key, entry: _Entry) -> OnnxModel:
        """The entry's model, after asking storage if that is due. One thread asks, the others go on."""
        cls._count("hits")
        _note("hit")
        if time.monotonic() < entry.fresh_until or not entry.refreshing.acquire(blocking=False):
            return entry.model
        try:
            source = entry.model.source
            if cls._store.changed(cls._bucket, key.path, generation=source.generation):
                entry.model = cls._load(key)  # beside the old one, which serves until this line is done
                cls._count("refreshes")
            entry.fresh_until = time.monotonic() + cls._refresh_s
        except (ObjectNotFound, ModelNotFound) as error:
            with cls._lock:
                if cls._entries.get(str(key)) is entry:
                    del cls._entries[str(key)]
            raise ModelNotFound(key.tenant_id, key.model_type) from error
        except Exception as error:  # noqa: BLE001 - whatever it is, memory too: the model that is here is good
            entry.fresh_until = time.monotonic() + min(_RETRY_S, cls._refresh_s)
            cls._count("failures")
            _LOG.warning(
                "Refresh of %s failed, generation %d stays: %r", key, entry.model.source.generation, error
            )
        finally:
            entry.refreshing.release()
        return entry.model

    @classmethod
    def _load(cls, key: _Key) -> OnnxModel:
        with stage("model"):
            try:
                stored = cls._store.read(cls._bucket, key.path)
            except ObjectNotFound as error:
                raise ModelNotFound(key.tenant_id, key.model_type) from error
            cls._count("loads")
            return OnnxModel(
                stored.data or b"",
                model_type=key.model_type,
                source=ModelSource(stored.uri, stored.generation, stored.crc32c),
                threads=cls._threads,
            )

    @classmethod
    def _count(cls, what: str) -> None:
        with cls._lock:
            cls._stats = replace(cls._stats, **{what: getattr(cls._stats, what) + 1})


def _note(outcome: str) -> None:
    """An event that uses several models is as cold as the coldest of them."""
    rank = ("hit", "wait", "miss")
    before = summary().fields.get("model_cache", "hit")
    summary().note(model_cache=max(before, outcome, key=rank.index))
