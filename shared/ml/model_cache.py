"""The process-wide cache of tenants' models.

Each model is loaded once, kept between events, and refreshed when its tenant uploads a new generation. The cache
never returns another tenant's model, and never keeps a model that failed to load.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, ClassVar, Final, get_args

from shared.cloud.objects import StoredObject
from shared.cloud.tenant_store import Store, TenantStores
from shared.errors import InvalidModel, ModelNotFound, ObjectNotFound
from shared.ml.eviction import CacheEntry, select_evictions
from shared.ml.model_checks import ModelLimits
from shared.ml.output_layout import ModelType
from shared.ml.renewing_cache import CacheCounts, LookupOutcome, RenewingCache
from shared.names import TENANT_ID, model_path
from shared.runtime.activity import activity
from shared.runtime.event_record import current_record, stage

if TYPE_CHECKING:
    from shared.ml.onnx_model import OnnxModel, RunFailures

MODEL_TYPES: Final[tuple[ModelType, ...]] = get_args(ModelType)

NEGATIVE_CACHE_TTL_S: Final = 2.0  # for missing and invalid models
MAX_LOAD_S: Final = 120.0
MAX_MODELS: Final = 1000  # in the cache, whatever their size
# The generations that the current event is to use, where another process knows them: see `using_generations`.
_GENERATIONS: Final[ContextVar[Mapping[tuple[str, ModelType], int]]] = ContextVar("generations")
_OUTCOMES_BY_COST: Final[tuple[LookupOutcome, ...]] = ("hit", "wait", "miss")


@dataclass(frozen=True, slots=True, eq=False)
class CacheStats(CacheCounts):
    """What the cache has done since it was last cleared, and what it contains; `bytes` of the model files."""

    models: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class _Key:
    tenant_id: str
    model_type: ModelType
    worker_id: int

    def __post_init__(self) -> None:
        if not TENANT_ID.fullmatch(self.tenant_id):
            raise ValueError("tenant_id")
        if self.model_type not in MODEL_TYPES:
            raise ValueError("model_type")
        if type(self.worker_id) is not int or self.worker_id < 0:
            raise ValueError("worker_id")

    def __str__(self) -> str:
        return f"{self.tenant_id}_{self.model_type}_worker_{self.worker_id}"

    @property
    def path(self) -> str:
        return model_path(self.tenant_id, self.model_type)


class ModelCache:
    """Class-level state that all threads and events of this process share; `configure` it once."""

    _stores: ClassVar[TenantStores]
    _threads: ClassVar[int]
    _limits: ClassVar[ModelLimits]
    _cache_bytes: ClassVar[int]
    _run_failures: ClassVar[RunFailures]
    _has_arena: ClassVar[bool] = False
    _worker_ids: ClassVar[set[int]] = {0}  # of all keys so far
    # Before `configure` the cache is empty: it can be inspected and cleared, but nothing can be loaded.
    _cache: ClassVar[RenewingCache[_Key, OnnxModel]] = RenewingCache(
        load=lambda key: ModelCache._load(key),  # noqa: PLW0108 - the class does not exist yet
        changed=lambda key, model: ModelCache._changed(key, model),  # noqa: PLW0108
        refresh_s=0.0,
    )

    @classmethod
    def configure(
        cls,
        store: Store,
        *,
        bucket: str,
        threads: int = 0,
        refresh_s: float = 60.0,
        limits: ModelLimits = ModelLimits(),  # noqa: B008 - frozen
        cache_bytes: int = 0,
    ) -> None:
        """Set where models come from, and empty the cache.

        The first call also registers the memory arena that all sessions of the process share.

        Args:
            store: Where the models are.
            bucket: Their bucket.
            threads: Threads of one run; 0 is the number of this process's CPUs.
            refresh_s: Seconds after which storage is asked again for a model's generation.
            limits: Limits of models. A larger file is not even downloaded.
            cache_bytes: Maximum size of all cached models; 0 is no limit. See `shared.ml.eviction`.
        """
        # Importing ONNX Runtime takes 100 ms, and the process that answers does not need it.
        from shared.ml.bounded_run import share_arena  # noqa: PLC0415
        from shared.ml.onnx_model import RunFailures  # noqa: PLC0415

        if not cls._has_arena:
            share_arena()
            cls._has_arena = True
        cls._stores, cls._threads, cls._limits = TenantStores(store, models=bucket), threads, limits
        cls._cache_bytes = cache_bytes
        cls._run_failures = RunFailures()
        cls._cache = RenewingCache(
            load=cls._load,
            changed=cls._changed,
            refresh_s=refresh_s,
            on_lookup=_record_lookup,
            select_evictions=cls._select_evictions,
            clone_error=_clone_error,
            negative_ttl_s=min(NEGATIVE_CACHE_TTL_S, refresh_s),
            max_entries=MAX_MODELS,
            size=lambda model: model.file_bytes,
        )

    @classmethod
    def get_model(cls, *, tenant_id: str, model_type: ModelType, worker_id: int = 0) -> OnnxModel:
        """Return the tenant's own model, `models/{tenant_id}/{model_type}.onnx`, and load it if it is not cached.

        A run of worker 0's model uses all threads. Runs of other workers use one thread each, so that many can run
        concurrently.

        Raises:
            ModelNotFound: The tenant has no such model (a FileNotFoundError).
            InvalidModel: The tenant's file cannot be used.
            StorageUnavailable: Storage did not answer.
            ValueError: An argument is malformed, and might reach another tenant's path or key.
        """
        key = _Key(tenant_id, model_type, worker_id)
        cls._worker_ids.add(worker_id)
        return cls._cache.get(key)

    @classmethod
    def generation(cls, *, tenant_id: str, model_type: ModelType, worker_id: int = 0) -> int:
        """Return the generation of the model that `get_model` would return, without loading it.

        Raises:
            ModelNotFound: The tenant has no such model.
            StorageUnavailable: Storage did not answer.
            ValueError: An argument is malformed.
        """
        key = _Key(tenant_id, model_type, worker_id)
        if model := cls._cache.get_cached(key):
            return model.source.generation
        try:
            return cls._stores.of(key.tenant_id).stat(key.path).generation
        except ObjectNotFound as error:
            raise ModelNotFound(tenant_id, model_type) from error

    @classmethod
    def expire(cls, *, tenant_id: str, model_types: Sequence[str]) -> None:
        """Refresh these models at their next use, because newer generations are known to exist."""
        types = [each for each in MODEL_TYPES if each in model_types]
        cls._cache.expire([key for each in types for key in cls._keys(tenant_id, each)])

    @classmethod
    @contextmanager
    def using_generations(cls, tenant_id: str, generations: Mapping[ModelType, int]) -> Generator[None]:
        """Use these generations of a tenant's models inside, as far as they can be loaded, and do not ask storage.

        Another process knows them: it refreshes for all caches of an instance. A newer generation that cannot be
        loaded leaves the cached one in place, as a refresh does.
        """
        stale = [
            model_type
            for model_type, generation in generations.items()
            for key in cls._keys(tenant_id, model_type)
            if (model := cls._cache.peek(key)) and model.source.generation != generation
        ]
        cls.expire(tenant_id=tenant_id, model_types=stale)
        token = _GENERATIONS.set({(tenant_id, model_type): each for model_type, each in generations.items()})
        try:
            yield
        finally:
            _GENERATIONS.reset(token)

    @classmethod
    def clear_cache(cls) -> None:
        """Remove all models and reset the counts. A load under way still answers the threads that wait for it."""
        cls._cache.clear()

    @classmethod
    def stats(cls) -> CacheStats:
        return CacheStats(**asdict(cls._cache.counts), models=len(cls._cache), bytes=cls._cache.total_size)

    @classmethod
    def keys(cls) -> list[str]:
        """Return the keys of the cached models, `{tenant_id}_{model_type}_worker_{worker_id}`."""
        return sorted(map(str, cls._cache.contents()))

    @classmethod
    def _keys(cls, tenant_id: str, model_type: ModelType) -> list[_Key]:
        return [_Key(tenant_id, model_type, worker_id) for worker_id in tuple(cls._worker_ids)]

    @classmethod
    def _changed(cls, key: _Key, model: OnnxModel) -> bool:
        if generation := _GENERATIONS.get({}).get((key.tenant_id, key.model_type)):
            return model.source.generation != generation
        try:
            return cls._stores.of(key.tenant_id).changed(key.path, generation=model.source.generation)
        except ObjectNotFound as error:
            raise ModelNotFound(key.tenant_id, key.model_type) from error

    @classmethod
    def _select_evictions(
        cls, key: _Key, model: OnnxModel, others: Mapping[_Key, OnnxModel]
    ) -> Iterable[_Key] | None:
        if not cls._cache_bytes:
            return ()
        entries = {
            other_key: CacheEntry(other_key.tenant_id, other.size_bytes, other.in_use)
            for other_key, other in others.items()
        }
        return select_evictions(CacheEntry(key.tenant_id, model.size_bytes), entries, cls._cache_bytes)

    @classmethod
    def _load(cls, key: _Key) -> OnnxModel:
        name = f"model {key.model_type}"
        with stage("model"), activity(name):  # without a limit: the time that storage takes is not the model's
            try:
                stored = cls._read(key)
            except ObjectNotFound as error:
                raise ModelNotFound(key.tenant_id, key.model_type) from error
        with stage("model"), activity(name, limit_s=MAX_LOAD_S):
            if stored.data is None:
                raise InvalidModel(f"{key.model_type}.onnx has more than {cls._limits.max_bytes} bytes, the limit")
            from shared.ml.onnx_model import ModelSource, OnnxModel  # noqa: PLC0415 - see `configure`

            return OnnxModel(
                stored.data,
                model_type=key.model_type,
                source=ModelSource(stored.uri, stored.generation, stored.crc32c),
                threads=1 if key.worker_id else cls._threads,
                limits=cls._limits,
                run_failures=cls._run_failures,
            )

    @classmethod
    def _read(cls, key: _Key) -> StoredObject:
        """Read the generation that the event is to use, or the live one if that is no longer there."""
        store, max_bytes = cls._stores.of(key.tenant_id), cls._limits.max_bytes
        if generation := _GENERATIONS.get({}).get((key.tenant_id, key.model_type)):
            with suppress(ObjectNotFound):
                return store.read(key.path, generation=generation, max_bytes=max_bytes)
        return store.read(key.path, max_bytes=max_bytes)


def _clone_error(error: BaseException) -> Exception | None:
    """Return a copy of an error that only an upload can resolve, and None for others."""
    if isinstance(error, ModelNotFound):
        return ModelNotFound(error.tenant_id, error.model_type)
    return InvalidModel(str(error)) if isinstance(error, InvalidModel) else None


def _record_lookup(outcome: LookupOutcome) -> None:
    """Record the most expensive outcome of the event's lookups so far."""
    before = current_record().fields.get("model_cache", "hit")
    current_record().add_fields(model_cache=max(before, outcome, key=_OUTCOMES_BY_COST.index))
