"""A tenant's own part of a store of objects: what is handed to all that works for a tenant.

It says which buckets hold the three kinds of objects and whose they are; who may ask for which is decided in
`shared.events`, and this is what holds when that, or anybody after it, is mistaken.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from shared.cloud.objects import ObjectStat, StoredObject
from shared.errors import OutsideTenant
from shared.names import MAX_OBJECT_NAME_BYTES, TENANT_ID, is_printable


class Store(Protocol):
    """What is needed of a store of objects; see `shared.cloud.object_store`."""

    def stat(self, bucket: str, name: str, *, generation: int | None = None) -> ObjectStat: ...
    def changed(self, bucket: str, name: str, *, generation: int) -> bool: ...
    def read(
        self, bucket: str, name: str, *, generation: int | None = None, max_bytes: int | None = None
    ) -> StoredObject: ...
    def write(
        self,
        bucket: str,
        name: str,
        data: bytes,
        *,
        content_type: str,
        metadata: Mapping[str, str] | None = None,
        if_generation: int | None = None,
    ) -> int: ...


class TenantStores:
    """The only holder of a whole store: it gives each tenant's part of it, and nothing else."""

    def __init__(self, store: Store, *, models: str = "", uploads: str = "", results: str = "") -> None:
        """`models`, `uploads`, `results`: the buckets of each; what has none cannot be reached."""
        self._store = store
        self._buckets = {"models": models, "uploads": uploads, "results": results}

    def of(self, tenant_id: str) -> TenantStore:
        """Raises: OutsideTenant: that is no tenant's id."""
        return TenantStore(self._store, tenant_id, self._buckets)


class TenantStore:
    """Reads `models/{tenant_id}/`, `uploads/{tenant_id}/` and `results/{tenant_id}/`, and writes the last.

    Objects go by their name alone: its first part says which bucket, so that no other can be named. The verbs
    answer and raise as those of `shared.cloud.object_store`; a name that is not this tenant's is OutsideTenant,
    and the store is not asked.
    """

    def __init__(self, store: Store, tenant_id: str, buckets: Mapping[str, str]) -> None:
        if not TENANT_ID.fullmatch(tenant_id):
            raise OutsideTenant
        self._store = store
        self._tenant_id = tenant_id
        self._buckets = buckets

    def stat(self, name: str, *, generation: int | None = None) -> ObjectStat:
        return self._store.stat(self._bucket(name), name, generation=generation)

    def changed(self, name: str, *, generation: int) -> bool:
        return self._store.changed(self._bucket(name), name, generation=generation)

    def read(self, name: str, *, generation: int | None = None, max_bytes: int | None = None) -> StoredObject:
        return self._store.read(self._bucket(name), name, generation=generation, max_bytes=max_bytes)

    def write(
        self,
        name: str,
        data: bytes,
        *,
        content_type: str,
        metadata: Mapping[str, str] | None = None,
        if_generation: int | None = None,
    ) -> int:
        bucket = self._bucket(name)
        if not name.startswith("results/"):
            raise OutsideTenant
        return self._store.write(
            bucket, name, data, content_type=content_type, metadata=metadata, if_generation=if_generation
        )

    def _bucket(self, name: str) -> str:
        """Where an object of this tenant lies.

        A store may be folders (`local.folder_store`), where `..` leads out, and a name may be part of a URL.
        """
        kind, _, rest = name.partition("/")
        path = rest.removeprefix(f"{self._tenant_id}/")
        bucket = self._buckets.get(kind, "")
        parts = path.split("/")
        if (
            not bucket
            or path == rest
            or not parts[-1]
            or not {".", ".."}.isdisjoint(parts)
            or not is_printable(path)
            or len(name.encode()) > MAX_OBJECT_NAME_BYTES
        ):
            raise OutsideTenant
        return bucket
