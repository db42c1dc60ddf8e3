"""Knows which generation of each tenant's model is live, as of at most `refresh_s` ago, without a session."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterable
from contextvars import ContextVar
from typing import Final, get_args

from shared.cloud.objects import StoredObject
from shared.cloud.tenant_store import Store, TenantStores
from shared.errors import InvalidModel, ModelNotFound, ObjectNotFound
from shared.ml.output_layout import ModelType
from shared.ml.renewing_cache import RenewingCache
from shared.names import model_path

NEGATIVE_CACHE_TTL_S: Final = 2.0
FAILURE_COOLDOWN_S: Final = 600.0
MAX_FAILURES: Final = 10_000

_Key = tuple[str, ModelType]

# Where `_read` leaves a file for the thread that asked for it: the cache keeps the generation only.
_FILES: Final[ContextVar[dict[_Key, StoredObject]]] = ContextVar("files")


class ModelVersions:
    """One per instance, shared by all its threads; also remembers which generations must not run for a while."""

    def __init__(self, store: Store, *, bucket: str, refresh_s: float, max_bytes: int) -> None:
        """Read models of at most `max_bytes` from `bucket`, and ask for their generations every `refresh_s`."""
        self._stores = TenantStores(store, models=bucket)
        self._max_bytes = max_bytes
        self._live: RenewingCache[_Key, int] = RenewingCache(
            load=self._read,
            changed=self._changed,
            refresh_s=refresh_s,
            clone_error=_clone_error,
            negative_ttl_s=min(NEGATIVE_CACHE_TTL_S, refresh_s),
        )
        self._lock = threading.Lock()
        self._failed: OrderedDict[tuple[str, ModelType, int], tuple[float, str]] = OrderedDict()

    def live(self, tenant_id: str, model_types: Iterable[ModelType]) -> dict[ModelType, int]:
        """Return the live generations of a tenant's models, without reading a model.

        Raises:
            ModelNotFound: The tenant has no such model.
            StorageUnavailable: Storage did not answer.
        """
        return {
            each: self._live.get_cached((tenant_id, each)) or self._stat((tenant_id, each)) for each in model_types
        }

    def read(
        self, tenant_id: str, model_types: Iterable[ModelType]
    ) -> tuple[dict[ModelType, int], dict[ModelType, StoredObject]]:
        """Return the live generations, and the files of those that this instance sees for the first time.

        Of several threads that ask for a new generation at once, one reads it and gets its file.

        Raises:
            ModelNotFound: The tenant has no such model.
            InvalidModel: The file is too large, or this generation failed less than FAILURE_COOLDOWN_S ago.
            StorageUnavailable: Storage did not answer.
        """
        files: dict[_Key, StoredObject] = {}
        token = _FILES.set(files)
        try:
            generations = {model_type: self._live.get((tenant_id, model_type)) for model_type in model_types}
        finally:
            _FILES.reset(token)
        for model_type, generation in generations.items():
            with self._lock:
                until, reason = self._failed.get((tenant_id, model_type, generation), (0.0, ""))
            if time.monotonic() < until:
                raise InvalidModel(reason)
        return generations, {model_type: file for (_, model_type), file in files.items()}

    def expire(self, tenant_id: str, model_types: Iterable[str]) -> None:
        """Ask storage at the next use of these models, whether a refresh is due or not."""
        self._live.expire([(tenant_id, each) for each in get_args(ModelType) if each in set(model_types)])

    def reject(self, tenant_id: str, model_type: ModelType, generation: int, reason: str) -> None:
        """Have `read` raise InvalidModel with this reason for FAILURE_COOLDOWN_S, if this generation is live."""
        with self._lock:
            self._failed[tenant_id, model_type, generation] = time.monotonic() + FAILURE_COOLDOWN_S, reason
            while len(self._failed) > MAX_FAILURES:
                self._failed.popitem(last=False)

    def _read(self, key: _Key) -> int:
        """Read a new generation, for the thread that asked for it."""
        try:
            stored = self._stores.of(key[0]).read(model_path(*key), max_bytes=self._max_bytes)
        except ObjectNotFound as error:
            raise ModelNotFound(*key) from error
        if stored.data is None:
            raise InvalidModel(f"{key[1]}.onnx has more than {self._max_bytes} bytes, the limit")
        _FILES.get({})[key] = stored
        return stored.generation

    def _stat(self, key: _Key) -> int:
        try:
            return self._stores.of(key[0]).stat(model_path(*key)).generation
        except ObjectNotFound as error:
            raise ModelNotFound(*key) from error

    def _changed(self, key: _Key, generation: int) -> bool:
        try:
            return self._stores.of(key[0]).changed(model_path(*key), generation=generation)
        except ObjectNotFound as error:
            raise ModelNotFound(*key) from error


def _clone_error(error: BaseException) -> Exception | None:
    """Return a fresh copy of a failure that only an upload can change, else None."""
    if isinstance(error, ModelNotFound):
        return ModelNotFound(error.tenant_id, error.model_type)
    return InvalidModel(str(error)) if isinstance(error, InvalidModel) else None
