"""The global cache of tenants' models: each loaded once, kept between events, renewed when its owner uploads.

It never answers with another tenant's model, and never keeps a load that failed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar, Final, get_args

from shared.cloud.tenant_store import Store, TenantStores
from shared.errors import InvalidModel, ModelNotFound, ObjectNotFound
from shared.ml.eviction import CacheEntry, select_evictions
from shared.ml.model_limits import ModelLimits
from shared.ml.onnx_model import ModelSource, OnnxModel
from shared.ml.output_layout import ModelType
from shared.ml.renewing_cache import Counts, LookupOutcome, RenewingCache
from shared.names import TENANT_ID, model_path
from shared.runtime.event_record import current_record, stage

MODEL_TYPES: Final[tuple[ModelType, ...]] = get_args(ModelType)

NEGATIVE_CACHE_TTL_S: Final = 2.0  # that there is no such model, or none that can be served


@dataclass(frozen=True, slots=True)
class CacheStats(Counts):
    """What the cache did since it was last cleared, and what it holds: bytes are those of the model files."""

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
    """Class-level state, shared by all threads and all events of this process. `configure` it once."""

    _stores: ClassVar[TenantStores]
    _threads: ClassVar[int]
    _limits: ClassVar[ModelLimits]
    _cache_bytes: ClassVar[int]
    # Empty before it is configured: what it holds can be asked, and forgotten, and nothing can be loaded.
    _cache: ClassVar[RenewingCache[_Key, OnnxModel]] = RenewingCache(
        load=lambda key: ModelCache._load(key),  # noqa: PLW0108 - the class is not there yet
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
        """Say where models come from; what was loaded from elsewhere is forgotten.

        `threads`: of one inference (0: this process's CPUs). `refresh_s`: how old an answer about a model's
        generation may be before storage is asked again. A file above the `limits` is not even downloaded.
        `cache_bytes`: what the models kept may weigh (0: there is room for all); see `shared.ml.eviction`.
        """
        cls._stores, cls._threads, cls._limits = TenantStores(store, models=bucket), threads, limits
        cls._cache_bytes = cache_bytes
        cls._cache = RenewingCache(
            load=cls._load,
            changed=cls._changed,
            refresh_s=refresh_s,
            on_lookup=_note,
            select_evictions=cls._select_evictions,
            clone_error=_clone_error,
            negative_ttl_s=min(NEGATIVE_CACHE_TTL_S, refresh_s),
        )

    @classmethod
    def get_model(cls, *, tenant_id: str, model_type: ModelType, worker_id: int = 0) -> OnnxModel:
        """The tenant's own model, from `models/{tenant_id}/{model_type}.onnx`, loaded at most once at a time.

        Worker 0's runs take all threads. Every other worker's take one: they are for many runs side by side.

        Raises:
            ModelNotFound: the tenant has none (a FileNotFoundError).
            InvalidModel: the tenant's file is not one that can be served.
            StorageUnavailable: storage did not tell.
            ValueError: an argument that could reach into another's path or key.
        """
        return cls._cache.get(_Key(tenant_id, model_type, worker_id))

    @classmethod
    def generation(cls, *, tenant_id: str, model_type: ModelType, worker_id: int = 0) -> int:
        """The generation `get_model` would answer with, without loading a model that is not there.

        Raises: as `get_model`.
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
        """Somebody knows of newer generations of these: ask storage at the next use, whether it is due or not."""
        cls._cache.expire(lambda key: key.tenant_id == tenant_id and key.model_type in model_types)

    @classmethod
    def clear_cache(cls) -> None:
        """Forget every model and every count. A load under way still answers those who wait for it."""
        cls._cache.clear()

    @classmethod
    def stats(cls) -> CacheStats:
        models = cls._cache.contents().values()
        counts = asdict(cls._cache.counts)
        return CacheStats(**counts, models=len(models), bytes=sum(model.size for model in models))

    @classmethod
    def keys(cls) -> list[str]:
        """The keys of the models held, `{tenant_id}_{model_type}_worker_{worker_id}`."""
        return sorted(map(str, cls._cache.contents()))

    @classmethod
    def _changed(cls, key: _Key, model: OnnxModel) -> bool:
        try:
            return cls._stores.of(key.tenant_id).changed(key.path, generation=model.source.generation)
        except ObjectNotFound as error:
            raise ModelNotFound(key.tenant_id, key.model_type) from error

    @classmethod
    def _select_evictions(
        cls, key: _Key, model: OnnxModel, others: Mapping[_Key, OnnxModel]
    ) -> Iterable[_Key] | None:
        held = {
            each: CacheEntry(each, each.tenant_id, other.size_bytes, other.in_use)
            for each, other in others.items()
        }
        going = select_evictions(
            CacheEntry(key, key.tenant_id, model.size_bytes), list(held.values()), cls._cache_bytes
        )
        return None if going is None else [each for each, other in held.items() if other in going]

    @classmethod
    def _load(cls, key: _Key) -> OnnxModel:
        with stage("model"):
            try:
                stored = cls._stores.of(key.tenant_id).read(key.path, max_bytes=cls._limits.max_bytes)
            except ObjectNotFound as error:
                raise ModelNotFound(key.tenant_id, key.model_type) from error
            if stored.data is None:
                raise InvalidModel(f"{key.model_type}.onnx has more than {cls._limits.max_bytes} bytes")
            return OnnxModel(
                stored.data,
                model_type=key.model_type,
                source=ModelSource(stored.uri, stored.generation, stored.crc32c),
                threads=1 if key.worker_id else cls._threads,
                limits=cls._limits,
            )


def _clone_error(error: BaseException) -> Exception | None:
    """What only an upload can change needs no second look at once."""
    if isinstance(error, ModelNotFound):
        return ModelNotFound(error.tenant_id, error.model_type)
    return InvalidModel(str(error)) if isinstance(error, InvalidModel) else None


def _note(outcome: LookupOutcome) -> None:
    """An event that uses several models is as cold as the coldest of them."""
    rank = ("hit", "wait", "miss")
    before = current_record().fields.get("model_cache", "hit")
    current_record().add_fields(model_cache=max(before, outcome, key=rank.index))
