"""An object store in memory with generations and checksums, for tests of the caches and the pipeline.

It counts calls. A test can block reads (`gate`), make calls fail (`failures`), and let responses to conditional
writes be lost after the write has happened (`loses_answers`), as a retried request sees it.
"""

import itertools
import threading
from collections import Counter
from collections.abc import Mapping
from typing import Protocol

from shared.cloud.objects import ObjectStat, StoredObject, crc32c
from shared.errors import ObjectChanged, ObjectNotFound

GATE_TIMEOUT_S = 20


class PutModel(Protocol):
    """Stores a file as a model of tenant-001, and returns its generation (the fixture `put_model`)."""

    def __call__(self, data: bytes, model_type: str = "detect") -> int: ...


class MemoryStore:
    """One bucket: the bucket's name in a call is only used in URIs.

    `calls` counts (verb, name). `failures` maps (verb, name) to the error that such a call raises. `entered` is
    released by every read that reaches a gate.
    """

    def __init__(self) -> None:
        self.calls: Counter[tuple[str, str]] = Counter()
        self.failures: dict[tuple[str, str], BaseException] = {}
        self.gates: dict[str, threading.Event] = {}
        self.loses_answers = False
        self.entered = threading.Semaphore(0)
        self._objects: dict[str, tuple[bytes, int, dict[str, str]]] = {}  # data, generation, metadata
        self._generations = itertools.count(1000)
        self._lock = threading.Lock()

    def put(self, name: str, data: bytes, metadata: Mapping[str, str] | None = None) -> int:
        """Write an object without a count or a failure; return its generation."""
        with self._lock:
            generation = next(self._generations)
            self._objects[name] = (data, generation, dict(metadata or {}))
        return generation

    def remove(self, name: str) -> None:
        with self._lock:
            del self._objects[name]

    def data(self, name: str) -> bytes:
        return self._objects[name][0]

    def names(self) -> list[str]:
        return sorted(self._objects)

    def gate(self, name: str) -> threading.Event:
        """Block reads of `name` until the event that is returned is set."""
        self.gates[name] = threading.Event()
        return self.gates[name]

    def stat(self, bucket: str, name: str, *, generation: int | None = None) -> ObjectStat:
        data, stored_generation, metadata = self._get("stat", bucket, name, generation)
        return ObjectStat(stored_generation, len(data), crc32c(data), metadata)

    def changed(self, bucket: str, name: str, *, generation: int) -> bool:
        return self._get("changed", bucket, name, None)[1] != generation

    def read(
        self, bucket: str, name: str, *, generation: int | None = None, max_bytes: int | None = None
    ) -> StoredObject:
        data, stored_generation, _ = self._get("read", bucket, name, generation)
        fits = max_bytes is None or len(data) <= max_bytes
        return StoredObject(data if fits else None, f"gs://{bucket}/{name}", stored_generation, crc32c(data))

    def write(
        self,
        bucket: str,
        name: str,
        data: bytes,
        *,
        content_type: str,
        metadata: Mapping[str, str] | None = None,
        if_generation: int | None = None,
    ) -> int:
        assert content_type
        with self._lock:
            self.calls["write", name] += 1
            self._raise_failure("write", name)
            stored_generation = self._objects[name][1] if name in self._objects else 0
        if if_generation not in {None, stored_generation}:
            raise ObjectChanged(f"gs://{bucket}/{name}")
        generation = self.put(name, data, metadata)
        if self.loses_answers and if_generation is not None:
            raise ObjectChanged(f"gs://{bucket}/{name}")
        return generation

    def _get(self, verb: str, bucket: str, name: str, generation: int | None) -> tuple[bytes, int, dict[str, str]]:
        with self._lock:
            self.calls[verb, name] += 1
        if verb == "read" and name in self.gates:
            self.entered.release()
            assert self.gates[name].wait(GATE_TIMEOUT_S)
        self._raise_failure(verb, name)
        with self._lock:
            stored = self._objects.get(name)
        if stored is None or generation not in {None, stored[1]}:
            raise ObjectNotFound(f"gs://{bucket}/{name}")
        return stored

    def _raise_failure(self, verb: str, name: str) -> None:
        if (verb, name) in self.failures:
            raise self.failures[verb, name]
