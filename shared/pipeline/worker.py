"""A worker's side of the pipeline: computes one job after the other, with models that the parent process reads."""

from __future__ import annotations

import math
import os
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Final, NamedTuple

from shared.cloud.objects import ObjectStat, StoredObject
from shared.config import Config
from shared.errors import ModelNotFound, ObjectNotFound, StorageUnavailable, TenantVisionError, shortage
from shared.ml import onnx_model  # imported by the fork server, once for all workers
from shared.ml.bounded_run import RunOutOfMemory, RunTimeout
from shared.ml.model_cache import ModelCache
from shared.ml.model_checks import ModelLimits
from shared.pipeline.compute import InProcess
from shared.pipeline.job import Job
from shared.runtime import activity, deadline
from shared.runtime.event_record import event_record
from shared.runtime.logs import configure_logging
from shared.vision.images.codec import ignore_pillow_warnings
from shared.workers.channel import Channel, close_all, memory_file, read_memory_file
from shared.workers.progress import Progress

MAX_TRACEBACK_CHARACTERS: Final = 20_000
_PRELOADED: Final = (onnx_model,)


def handle(
    request: dict[str, Any], descriptors: list[int], channel: Channel, progress: Progress
) -> tuple[dict[str, Any], list[int]]:
    """Compute the job of a request from the image in its memory file; `worker_computer` reads the reply."""
    worker = _worker(channel, progress)
    worker.activities.clear()
    reply: dict[str, Any] = {"worker": os.getpid()}
    replied: list[int] = []
    with event_record() as record, deadline.fail_after(request["seconds"]):
        try:
            job = Job.from_json(request["job"])
            worker.store.provide(request["files"], descriptors[1:])
            image = read_memory_file(descriptors[0])
            close_all(descriptors[:1])
            computed = worker.computer.compute(job, image)
            parts = [computed.findings, *computed.pictures.values()]
            reply["computed"] = {
                "pictures": list(computed.pictures),
                "sizes": [len(part) for part in parts],
                "models": dict(computed.models),
                "counts": dict(computed.counts),
            }
            replied.append(memory_file(*parts))
        except TenantVisionError as error:
            if _ran_out_of_memory(error):
                raise MemoryError from error  # ends this worker, and has the job repeated by a new one
            arguments = (error.tenant_id, error.model_type) if isinstance(error, ModelNotFound) else (str(error),)
            reply |= {"error": error.error, "arguments": arguments}
            if isinstance(error, RunTimeout):
                reply["failed"] = progress.read()[0]
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - the parent process logs it, and answers
            if exhausted := shortage(error):
                reply |= {"error": exhausted.error, "arguments": [str(exhausted)]}
            else:
                reply["bug"] = "".join(traceback.format_exception(error))[-MAX_TRACEBACK_CHARACTERS:]
        finally:
            worker.store.provide((), ())  # files that were not needed would take memory until the next job
        reply |= {
            "stages_s": record.stages_s,
            "fields": record.fields,
            "cache": dict(worker.computer.cache_stats()),
        }
    return reply, replied


def _ran_out_of_memory(error: TenantVisionError) -> bool:
    return isinstance(error, RunOutOfMemory) or isinstance(error.__cause__, MemoryError)


class _Worker(NamedTuple):
    activities: _Activities
    store: _ParentStore
    computer: InProcess


@cache
def _config() -> Config:
    """Return the settings that this process inherited."""
    return Config.from_environment(os.environ)


@cache
def _worker(channel: Channel, progress: Progress) -> _Worker:
    """Configure this worker, whose channel and progress are always the same."""
    config = _config()
    configure_logging(("shared",), level=config.log_level, project=config.project)
    ignore_pillow_warnings()
    store = _ParentStore(channel)
    ModelCache.configure(
        store,
        bucket=config.gcs_bucket,
        threads=config.ort_threads,
        refresh_s=config.model_refresh_s,
        limits=ModelLimits.of(config),
        cache_bytes=config.model_cache_bytes,
    )
    activities = _Activities(progress)
    activity.listen(activities.begin)
    return _Worker(activities, store, InProcess(config))


class _Activities:
    """Shares the activity whose limit ends first with the parent process, of all that are under way."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._lock = threading.Lock()
        self._ends_at: dict[object, tuple[float, str]] = {}

    def begin(self, name: str, limit_s: float) -> Callable[[], None]:
        """Add an activity, and return what ends it."""
        key = object()
        with self._lock:
            self._ends_at[key] = time.monotonic() + limit_s, name
            self._share()

        def end() -> None:
            with self._lock:
                self._ends_at.pop(key, None)
                self._share()

        return end

    def clear(self) -> None:
        """Forget the activities of the job before, which may have failed in them."""
        with self._lock:
            self._ends_at = {}

    def _share(self) -> None:
        if self._ends_at:
            ends_at, name = min(self._ends_at.values())
            self._progress.write(name, limit_s=ends_at - time.monotonic())
        else:
            self._progress.write("", limit_s=math.inf)


class _ParentStore:
    """A store whose objects the parent process reads: a worker holds no credentials and needs no network."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._files: dict[tuple[str, int], tuple[str, int]] = {}  # checksum and descriptor, by name and generation

    def provide(self, headers: Sequence[dict[str, Any]], descriptors: Sequence[int]) -> None:
        """Take the memory files that came with a job, in place of those of the job before."""
        close_all([descriptor for _, descriptor in self._files.values()])
        self._files = {
            (header["name"], header["generation"]): (header["crc32c"], descriptor)
            for header, descriptor in zip(headers, descriptors, strict=True)
        }

    def read(
        self, bucket: str, name: str, *, generation: int | None = None, max_bytes: int | None = None
    ) -> StoredObject:
        """Return an object that came with the job, or have the parent read it.

        Raises:
            ObjectNotFound: There is no such object or generation, or this job may not read it.
            StorageUnavailable: Storage did not answer the parent.
        """
        if generation and (provided := self._files.pop((name, generation), None)):
            crc32c, descriptor = provided
            try:
                return StoredObject(read_memory_file(descriptor), f"gs://{bucket}/{name}", generation, crc32c)
            finally:
                close_all([descriptor])
        self._channel.send({"ask": "read", "name": name, "generation": generation, "max_bytes": max_bytes})
        answer, descriptors = self._channel.receive()
        try:
            if answer.get("not_found"):
                raise ObjectNotFound(name)
            if "unavailable" in answer:
                raise StorageUnavailable(answer["unavailable"])
            content = read_memory_file(descriptors[0]) if descriptors else None
        finally:
            close_all(descriptors)
        return StoredObject(content, f"gs://{bucket}/{name}", answer["generation"], answer["crc32c"])

    def stat(self, bucket: str, name: str, *, generation: int | None = None) -> ObjectStat:
        """Not for workers: the parent knows the live generations."""
        raise StorageUnavailable(f"A worker reads models only, not gs://{bucket}/{name}#{generation}")

    def changed(self, bucket: str, name: str, *, generation: int) -> bool:
        """Not for workers: the parent knows the live generations."""
        raise StorageUnavailable(f"A worker reads models only, not gs://{bucket}/{name}#{generation}")

    def write(self, bucket: str, name: str, data: bytes, **_: Any) -> int:
        """Not for workers: the parent writes results."""
        raise StorageUnavailable(f"A worker writes nothing, not {len(data)} bytes to gs://{bucket}/{name}")
