"""A store of objects in memory: what the cache and the pipeline need of one, with generations and checksums.

It counts what it is asked, and a test may hold it (`gate`), let it fail (`failures`, by object name), or let it
lose its answers to writes, which are then done and asked for again (`loses_answers`).
"""

import itertools
import threading
from collections import Counter

from shared.cloud.objects import ObjectStat, StoredObject, crc32c
from shared.errors import ObjectChanged, ObjectNotFound


class MemoryStore:
    def __init__(self):
        self.calls = Counter()
        self.failures = {}
        self.gates = {}
        self.loses_answers = False
        self.entered = threading.Semaphore(0)
        self._objects = {}
        self._generations = itertools.count(1000)
        self._lock = threading.Lock()

    def put(self, name, data, metadata=None):
        with self._lock:
            generation = next(self._generations)
            self._objects[name] = (data, generation, dict(metadata or {}))
        return generation

    def remove(self, name):
        with self._lock:
            del self._objects[name]

    def data(self, name):
        return self._objects[name][0]

    def names(self):
        return sorted(self._objects)

    def gate(self, name):
        """Whoever reads `name` waits until the event that this gives is set; `entered` counts who came."""
        self.gates[name] = threading.Event()
        return self.gates[name]

    def stat(self, bucket, name, *, generation=None):
        data, found, metadata = self._find("stat", bucket, name, generation)
        return ObjectStat(found, len(data), crc32c(data), metadata)

    def changed(self, bucket, name, *, generation):
        return self._find("changed", bucket, name, None)[1] != generation

    def read(self, bucket, name, *, generation=None, max_bytes=None):
        data, found, _ = self._find("read", bucket, name, generation)
        whole = max_bytes is None or len(data) <= max_bytes
        return StoredObject(data if whole else None, f"gs://{bucket}/{name}", found, crc32c(data))

    def write(self, bucket, name, data, *, content_type, metadata=None, if_generation=None):
        assert content_type
        with self._lock:
            self.calls["write", name] += 1
            self._maybe_fail("write", name)
            found = self._objects[name][1] if name in self._objects else 0
        if if_generation not in {None, found}:
            raise ObjectChanged(f"gs://{bucket}/{name}")
        generation = self.put(name, data, metadata)
        if self.loses_answers and if_generation is not None:
            raise ObjectChanged(f"gs://{bucket}/{name}")
        return generation

    def _find(self, verb, bucket, name, generation):
        with self._lock:
            self.calls[verb, name] += 1
        if verb == "read" and name in self.gates:
            self.entered.release()
            assert self.gates[name].wait(20)
        self._maybe_fail(verb, name)
        with self._lock:
            found = self._objects.get(name)
        if found is None or generation not in {None, found[1]}:
            raise ObjectNotFound(f"gs://{bucket}/{name}")
        return found

    def _maybe_fail(self, verb, name):
        """`failures`: (verb, name) to the error it ends in, for ever."""
        if (verb, name) in self.failures:
            raise self.failures[verb, name]
