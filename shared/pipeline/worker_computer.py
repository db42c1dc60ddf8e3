"""Computes jobs in worker processes, and turns the loss of a worker into a verdict on what caused it."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Final

from shared import errors
from shared.cloud.tenant_store import Store, TenantStore, TenantStores
from shared.config import Config
from shared.errors import (
    DeadlineExceeded,
    ImageTooLarge,
    InstanceExhausted,
    InvalidImage,
    InvalidModel,
    ObjectNotFound,
    StorageUnavailable,
    TenantVisionError,
    shortage,
)
from shared.ml.model_versions import ModelVersions
from shared.ml.output_layout import ModelType
from shared.names import model_path, parse_generation
from shared.pipeline.definitions import Plan
from shared.pipeline.job import Computed, Job, Models
from shared.runtime import deadline
from shared.runtime.event_record import current_record
from shared.workers.channel import ChannelClosed, InvalidMessage, close_all, memory_file, read_memory_file
from shared.workers.fork_server import ForkServer
from shared.workers.worker_pool import WorkerLost, WorkerPool

MAX_REPLY_BYTES: Final = 512 * 2**20
ATTEMPTS: Final = 2
_LOG: Final = logging.getLogger(__name__)
_ERRORS: Final = {
    each.error: each
    for each in vars(errors).values()
    if isinstance(each, type) and issubclass(each, TenantVisionError) and "error" in vars(each)
}


class WorkerBug(Exception):
    """A worker failed by a bug of ours; the message is its traceback."""


class WorkerComputer:
    """The Computer of an instance: workers that are bounded in memory, and killed when they overrun."""

    def __init__(self, store: Store, config: Config, *, workers: int, memory_bytes: int) -> None:
        """Start the fork server; each worker may have `memory_bytes` of private memory."""
        self._stores = TenantStores(store, models=config.gcs_bucket)
        self._versions = ModelVersions(
            store,
            bucket=config.gcs_bucket,
            refresh_s=config.model_refresh_s,
            max_bytes=config.max_model_bytes,
        )
        self._max_run_s = config.max_run_s
        self._max_model_bytes = config.max_model_bytes
        self._memory_bytes = memory_bytes
        self._server = ForkServer("shared.pipeline.worker:handle")
        self._pool = WorkerPool(self._server, size=workers, memory_bytes=memory_bytes)
        self._lock = threading.Lock()
        self._max_stats = workers
        # By process id, of as many workers as there can be: those that replied last.
        self._stats: OrderedDict[int, Mapping[str, int]] = OrderedDict()

    def close(self) -> None:
        """End the workers and their fork server."""
        self._pool.close()
        self._server.close()

    def live_models(self, tenant_id: str, model_types: Sequence[ModelType]) -> dict[ModelType, int]:
        """Return the live generations, as of the last refresh; see `Computer`."""
        return self._versions.live(tenant_id, model_types)

    def expire_models(self, tenant_id: str, model_types: Sequence[str]) -> None:
        """Refresh these generations at their next use; see `Computer`."""
        self._versions.expire(tenant_id, model_types)

    def prepare(self, tenant_id: str, plan: Plan) -> Models:
        """Read the models that are new to this instance, while no worker waits for them; see `Computer`."""
        return Models(*self._versions.read(tenant_id, plan.model_types))

    def cache_stats(self) -> Mapping[str, int]:
        """Return the sums of what the workers last reported."""
        with self._lock:
            stats = list(self._stats.values())
        names = dict.fromkeys(name for each in stats for name in each)
        return {name: sum(each.get(name, 0) for each in stats) for name in names}

    def compute(self, job: Job, image: bytes) -> Computed:
        """Compute a job in a worker; see `Computer`.

        If the worker runs out of memory, or the kernel kills it, the job is repeated once with a new worker: the
        models of other tenants may have taken the memory.

        Raises:
            InvalidModel, InvalidImage, ImageTooLarge: A model or the image made the worker fail.
            DeadlineExceeded: The event's deadline passed.
            InstanceExhausted: The instance has no process or no memory for a worker.
            WorkerBug: The worker failed by a bug of ours.
        """
        descriptors = [memory_file(image)]
        try:
            for file in job.models.files.values():
                descriptors.append(memory_file(file.data or b""))  # noqa: PERF401 - closed below, all that were made
            return self._attempt(job, descriptors, ATTEMPTS)
        finally:
            close_all(descriptors)

    def _attempt(self, job: Job, descriptors: Sequence[int], attempts: int) -> Computed:
        files = [
            {"name": model_path(job.tenant_id, model_type), "generation": file.generation, "crc32c": file.crc32c}
            for model_type, file in job.models.files.items()
        ]
        request = {"job": job.to_json(), "files": files, "seconds": deadline.remaining_s(at_most=3600.0)}
        store = self._stores.of(job.tenant_id)
        try:
            reply, replied = self._pool.call(
                request,
                descriptors,
                key=job.tenant_id,
                fresh=attempts < ATTEMPTS,
                answer=lambda question: _read_model(store, job, question, max_bytes=self._max_model_bytes),
            )
        except WorkerLost as lost:
            _LOG.warning("Worker lost for tenant %s: %s", job.tenant_id, lost)
            if lost.cause in {"killed", "memory"} and attempts > 1:
                return self._attempt(job, descriptors, attempts - 1)
            raise self._verdict(job, lost) from lost
        except ChannelClosed as error:
            raise InstanceExhausted("the instance has no worker processes at the moment: try again") from error
        except OSError as error:
            raise (shortage(error) or error) from error
        try:
            self._record(reply)
            return self._computed(job, reply, replied)
        finally:
            close_all(replied)

    def _record(self, reply: Mapping[str, Any]) -> None:
        """Add the worker's stages and fields to the event's record, and keep the counts of its cache.

        What a worker says is of its own event only: malformed counts fail here, not in the events of others.
        """
        record = current_record()
        stats = {str(name): int(count) for name, count in reply["cache"].items()}
        for name, seconds in reply["stages_s"].items():
            record.add(name, seconds)
        record.add_fields(**{name: each for name, each in reply["fields"].items() if name not in record.fields})
        with self._lock:
            self._stats[int(reply["worker"])] = stats
            self._stats.move_to_end(int(reply["worker"]))
            while len(self._stats) > self._max_stats:
                self._stats.popitem(last=False)

    def _computed(self, job: Job, reply: Mapping[str, Any], files: Sequence[int]) -> Computed:
        if "bug" in reply:
            raise WorkerBug(reply["bug"])
        if "error" in reply:
            error = _ERRORS[reply["error"]](*reply["arguments"])
            self._reject_model(job, reply.get("failed", ""), str(error))
            raise error
        computed = reply["computed"]
        try:
            data = read_memory_file(files[0], max_bytes=MAX_REPLY_BYTES)
        except InvalidMessage as error:
            raise ImageTooLarge(f"The result exceeds the limit of {MAX_REPLY_BYTES} bytes") from error
        if min(computed["sizes"]) < 0 or sum(computed["sizes"]) != len(data):
            raise WorkerBug(f"The sizes of a reply are not those of its {len(data)} bytes")
        parts, start = [], 0
        for size in computed["sizes"]:
            parts.append(data[start : start + size])
            start += size
        pictures = dict(zip(computed["pictures"], parts[1:], strict=True))
        return Computed(parts[0], pictures, computed["models"], computed["counts"])

    def _verdict(self, job: Job, lost: WorkerLost) -> TenantVisionError:
        """Return the error for a lost worker: what it was doing is to blame, unless it was killed from outside."""
        if lost.cause == "deadline":
            return DeadlineExceeded(f"Event deadline exceeded during: {lost.activity or 'processing'}")
        if lost.cause == "killed":
            return InstanceExhausted("the instance ran out of memory: try again")
        reason = {
            "overrun": f"took more than {self._max_run_s:g} s, the limit",
            "memory": f"needs more than {self._memory_bytes // 2**20} MiB of memory, the limit of an event",
        }.get(lost.cause, "crashed the process that computed it")
        if self._reject_model(job, lost.activity, message := f"The {lost.activity} {reason}"):
            return InvalidModel(message)
        if lost.activity == "decode" and lost.cause == "crash":
            return InvalidImage(f"Decoding the image {reason}")
        return ImageTooLarge(f"Processing the image {reason}")

    def _reject_model(self, job: Job, activity: str, reason: str) -> bool:
        """Reject the generation of the model that an activity names for a while, in all workers."""
        for model_type, generation in job.models.generations.items():
            if activity == f"model {model_type}":
                self._versions.reject(job.tenant_id, model_type, generation, reason)
                return True
        return False


def _read_model(
    store: TenantStore, job: Job, question: Mapping[str, Any], *, max_bytes: int
) -> tuple[dict[str, Any], list[int]]:
    """Read a model file for a worker: of the job's tenant, of a type that it uses, of at most `max_bytes`."""
    if question.get("name") not in {
        model_path(job.tenant_id, model_type) for model_type in job.models.generations
    }:
        return {"not_found": True}, []
    try:
        stored = store.read(
            question["name"], generation=parse_generation(question.get("generation")), max_bytes=max_bytes
        )
    except ObjectNotFound:
        return {"not_found": True}, []
    except StorageUnavailable as error:
        return {"unavailable": str(error)}, []
    answer = {"generation": stored.generation, "crc32c": stored.crc32c}
    return answer, [] if stored.data is None else [memory_file(stored.data)]
