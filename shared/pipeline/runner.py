"""Takes one request from image to stored result: duplicate check, read, steps, write.

Handles no envelopes and no arrays: decoding and drawing are in `read_image` and in `shared.results.picture`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from shared.cloud.objects import ObjectStat
from shared.cloud.tenant_store import Store, TenantStores
from shared.config import Config
from shared.errors import Ignored, ImageNotFound, ImageTooLarge, ObjectNotFound, StorageUnavailable
from shared.events import ImageVersion, Request, reject_own_output
from shared.ml.output_layout import ModelType
from shared.pipeline.compute import InProcess
from shared.pipeline.definitions import PipelineRegistry, Plan
from shared.pipeline.job import Computed, Computer, Job
from shared.results import documents
from shared.results.store import (
    ResultStore,
    WorkId,
    ensure_image_not_older,
    ensure_models_not_older,
    image_generation_of,
)
from shared.runtime.event_record import current_record, stage

_MAX_RESULT_READS: Final = 3


@dataclass(frozen=True, slots=True, eq=False)
class RunResult:
    """A complete result is in storage.

    `duplicate`: It was there before this run, and its document was not read again. `generation`: That of the
    result's object then, or 0 if it is unknown because another writer has written it during this run.
    """

    duplicate: bool
    document: bytes | None = None
    generation: int = 0


class PipelineRunner:
    """Runs requests through their pipelines; one per instance, without state of any request."""

    def __init__(self, store: Store, config: Config, computer: Computer | None = None) -> None:
        """Read and write through `store`, and compute by `computer` (by default in this process)."""
        self._stores = TenantStores(
            store, models=config.gcs_bucket, uploads=config.upload_bucket, results=config.results_bucket
        )
        self._config = config
        self._pipelines = PipelineRegistry(store, config)
        self._computer = computer or InProcess(config)

    def cache_stats(self) -> Mapping[str, int]:
        """Return the counts and sizes of the model caches."""
        return self._computer.cache_stats()

    def close(self) -> None:
        """End what computes."""
        self._computer.close()

    def run(self, request: Request) -> RunResult:
        """Process one image, and write its result last.

        Raises:
            TenantVisionError: Any of its leaves. No result was written then, at most pictures.
        """
        with stage("lookup"):
            plan = self._pipelines.plan(request.tenant_id, request.pipeline, request.options)
        image = self._resolve(request)
        results = self._results(request)
        with stage("lookup"):
            existing = results.stat()
            if existing and self._is_duplicate(request, image, plan, existing):
                return RunResult(duplicate=True, generation=existing.generation)
        with stage("lookup"):
            models = self._computer.prepare(request.tenant_id, plan)
        job = Job(request.tenant_id, image, request.pipeline, plan.definition, models)
        computed = self._computer.compute(job, self._read_image(request, image))
        return self._write(request, image, plan, computed, results=results, existing=existing)

    def run_and_read(self, request: Request) -> RunResult:
        """Process one image like `run`, and read the document of a duplicate with this request's id in it.

        The document is read at the generation whose work id was compared: another pipeline may overwrite the
        result meanwhile. If it did, or the result was deleted, the image is processed again.

        Raises:
            TenantVisionError: Any of its leaves, as from `run`.
        """
        for _ in range(_MAX_RESULT_READS):
            outcome = self.run(request)
            if outcome.document is not None:
                return outcome
            if outcome.generation:
                with suppress(ObjectNotFound):
                    document = self._results(request).read(generation=outcome.generation)
                    return RunResult(
                        duplicate=True, document=documents.with_request_id(document, request.request_id)
                    )
        raise StorageUnavailable("The result was replaced again and again before it was read: try again")

    def _resolve(self, request: Request) -> ImageVersion:
        """Return the requested version of the image, or its live one if the request names none.

        Raises:
            Ignored: The image is one of our own outputs. Checked only if the event did not tell.
        """
        image = request.image
        if image.generation is not None and not request.origin_unknown:
            return ImageVersion(image.bucket, image.name, image.generation)
        with stage("lookup"):
            try:
                stat = self._stores.of(request.tenant_id).stat(image.name, generation=image.generation)
            except ObjectNotFound as error:
                raise _image_missing_error(request) from error
        if request.origin_unknown:
            reject_own_output(stat.metadata)
        return ImageVersion(image.bucket, image.name, stat.generation)

    def _read_image(self, request: Request, image: ImageVersion) -> bytes:
        """Return the image's file.

        Raises:
            ImageTooLarge: The file exceeds the limit of bytes.
            Ignored, ImageNotFound, StorageUnavailable: This generation of the image is not there (any more).
        """
        max_bytes = self._config.max_image_bytes
        try:
            with stage("download"):
                stored = self._stores.of(request.tenant_id).read(
                    image.name, generation=image.generation, max_bytes=max_bytes
                )
        except ObjectNotFound as error:
            if request.image.generation is None:
                raise StorageUnavailable("The image was replaced before it was read") from error
            raise _image_missing_error(request) from error
        if stored.data is None:
            raise ImageTooLarge(f"The image file exceeds the limit of {max_bytes} bytes")
        return stored.data

    def _results(self, request: Request) -> ResultStore:
        return ResultStore(self._stores.of(request.tenant_id), request.result_prefix)

    def _is_duplicate(self, request: Request, image: ImageVersion, plan: Plan, existing: ObjectStat) -> bool:
        """Return whether the existing result has the work id that this request would give it.

        Raises:
            Ignored: The result is of a newer generation of the image.
            StorageUnavailable: The result is by a newer model than this instance can load.
        """
        ensure_image_not_older(image.generation, existing)
        if image_generation_of(existing) != image.generation:
            return False
        live_models = self._computer.live_models(request.tenant_id, plan.model_types)
        work = self._work_id(request, image, plan, live_models)
        if outdated := work.newer_models_in(existing):
            # Another instance has seen a newer model first. Refresh it here, and compare with that generation.
            self._computer.expire_models(request.tenant_id, outdated)
            live_models = self._computer.live_models(request.tenant_id, plan.model_types)
            work = self._work_id(request, image, plan, live_models)
        ensure_models_not_older(work, existing)
        return work.matches(existing)

    def _work_id(
        self, request: Request, image: ImageVersion, plan: Plan, generations: Mapping[ModelType, int]
    ) -> WorkId:
        """Hash what determines a result: image version, steps with their options, and model generations."""
        models = {str(model_type): generation for model_type, generation in generations.items()}
        pipeline = [request.pipeline, plan.digest]
        identity = {"image": [image.uri, image.generation], "pipeline": pipeline, "models": models}
        sha256 = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        return WorkId(image.generation, self._config.gcs_bucket, models, sha256)

    def _write(
        self,
        request: Request,
        image: ImageVersion,
        plan: Plan,
        computed: Computed,
        *,
        results: ResultStore,
        existing: ObjectStat | None,
    ) -> RunResult:
        # Not the work id of the duplicate check: a model may have been refreshed since, and the result is
        # identified by the generations that produced it.
        work = self._work_id(request, image, plan, computed.models)

        def document() -> bytes:
            return documents.complete(
                computed.findings, request, created_at=datetime.now(UTC), timings_ms=current_record().timings_ms
            )

        data = results.write(work, computed.pictures, document, existing=existing)
        if data is None:
            return RunResult(duplicate=True)
        current_record().add_fields(counts=dict(computed.counts))
        return RunResult(duplicate=False, document=data)


def _image_missing_error(request: Request) -> Ignored | ImageNotFound:
    """Return the error for a missing image: an upload's event is moot then, a caller must be told."""
    if request.source == "upload":
        return Ignored("The image, or this generation of it, is gone")
    generation = f" of generation {request.image.generation}" if request.image.generation else ""
    return ImageNotFound(f"There is no image {request.image.uri}{generation}")
