"""Limits an object store to one tenant's objects: a capability that is passed to all code that serves a tenant.

`shared.events` checks which image a tenant may request. This is defence in depth if that check, or later code, is
wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from shared.cloud.objects import ObjectStat, StoredObject
from shared.errors import OutsideTenant
from shared.names import MAX_OBJECT_NAME_BYTES, TENANT_ID, is_printable


class Store(Protocol):
    """An object store, as `shared.cloud.object_store.ObjectStore` documents it."""

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
    """Holds the whole store, and gives out only the part of one tenant."""

    def __init__(self, store: Store, *, models: str = "", uploads: str = "", results: str = "") -> None:
        """Set the buckets of models, uploads and results. A kind without a bucket is not accessible."""
        self._store = store
        self._buckets = {"models": models, "uploads": uploads, "results": results}

    def of(self, tenant_id: str) -> TenantStore:
        """Return the part of one tenant.

        Raises:
            OutsideTenant: `tenant_id` is not a valid tenant id.
        """
        return TenantStore(self._store, tenant_id, self._buckets)


class TenantStore:
    """Reads `models/{tenant_id}/`, `uploads/{tenant_id}/` and `results/{tenant_id}/`, and writes only the last.

    Methods take an object's name without a bucket: its first part determines the bucket. They return and raise
    what those of the store do, but raise OutsideTenant for a name outside the tenant's prefixes.
    """

    def __init__(self, store: Store, tenant_id: str, buckets: Mapping[str, str]) -> None:
        """Bind the store to a tenant. `buckets` are keyed by the first part of object names.

        Raises:
            OutsideTenant: `tenant_id` is not a valid tenant id.
        """
        if not TENANT_ID.fullmatch(tenant_id):
            raise OutsideTenant
        self._store = store
        self._tenant_id = tenant_id
        self._buckets = buckets

    def stat(self, name: str, *, generation: int | None = None) -> ObjectStat:
        """Read an object's metadata."""
        return self._store.stat(self._bucket(name), name, generation=generation)

    def changed(self, name: str, *, generation: int) -> bool:
        """Return whether the live object is of another generation."""
        return self._store.changed(self._bucket(name), name, generation=generation)

    def read(self, name: str, *, generation: int | None = None, max_bytes: int | None = None) -> StoredObject:
        """Read an object, or only its generation if it has more than `max_bytes`."""
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
        """Write an object under `results/`, and return its generation."""
        bucket = self._bucket(name)
        if not name.startswith("results/"):
            raise OutsideTenant
        return self._store.write(
            bucket, name, data, content_type=content_type, metadata=metadata, if_generation=if_generation
        )

    def _bucket(self, name: str) -> str:
        """Return the bucket of an object of this tenant.

        Names with `..` are rejected because a store may map them to files (`local.folder_store`), and unprintable
        ones because a store may put them in a URL.

        Raises:
            OutsideTenant: the name is not one of this tenant's objects.
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
