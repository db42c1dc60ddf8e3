"""Takes one request from image to stored result: duplicate check, read, steps, write.

Handles no envelopes and no arrays: decoding and drawing are in `read_image` and in `shared.results.picture`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from shared.cloud.objects import ObjectStat
from shared.cloud.tenant_store import Store, TenantStores
from shared.config import Config
from shared.errors import Ignored, ImageNotFound, ObjectNotFound, StorageUnavailable
from shared.events import ImageVersion, Request, reject_own_output
from shared.ml.model_cache import ModelCache
from shared.pipeline.definitions import PipelineRegistry, Plan
from shared.pipeline.read_image import read_image
from shared.processing_context import ProcessingContext
from shared.results import documents
from shared.results.picture import render_pictures
from shared.results.store import (
    ResultStore,
    WorkId,
    ensure_image_not_older,
    ensure_models_not_older,
    image_generation_of,
)
from shared.runtime.event_record import current_record, stage


@dataclass(frozen=True, slots=True, eq=False)
class RunResult:
    """A complete result is in storage.

    `duplicate`: It was there before this run, and its document was not read again.
    """

    duplicate: bool
    document: bytes | None = None


class PipelineRunner:
    """Runs requests through their pipelines; one per instance, without state of any request."""

    def __init__(self, store: Store, config: Config) -> None:
        self._stores = TenantStores(
            store, models=config.gcs_bucket, uploads=config.upload_bucket, results=config.results_bucket
        )
        self._config = config
        self._pipelines = PipelineRegistry(store, config)

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
                return RunResult(duplicate=True)
        store = self._stores.of(request.tenant_id)
        try:
            ctx = read_image(store, image, plan, self._config, tenant_id=request.tenant_id)
        except ObjectNotFound as error:
            if request.image.generation is None:
                raise StorageUnavailable("The image was replaced before it was read") from error
            raise _image_missing_error(request) from error
        for step in plan.steps:
            ctx = step.execute(ctx)
        return self._write(request, image, plan, ctx, results=results, existing=existing)

    def run_and_read(self, request: Request) -> RunResult:
        """Process one image like `run`, and read the document of a duplicate with this request's id in it.

        Raises:
            TenantVisionError: Any of its leaves, as from `run`.
        """
        outcome = self.run(request)
        if outcome.document is not None:
            return outcome
        try:
            document = self._results(request).read()
        except ObjectNotFound as error:
            raise StorageUnavailable("The result was deleted before it was read") from error
        return RunResult(outcome.duplicate, documents.with_request_id(document, request.request_id))

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
        work = self._work_id(request, image, plan, self._live_models(request, plan))
        if outdated := work.newer_models_in(existing):
            # Another instance has seen a newer model first. Refresh it here, and compare with that generation.
            ModelCache.expire(tenant_id=request.tenant_id, model_types=outdated)
            work = self._work_id(request, image, plan, self._live_models(request, plan))
        ensure_models_not_older(work, existing)
        return work.matches(existing)

    def _live_models(self, request: Request, plan: Plan) -> dict[str, int]:
        """Return the generations of the models that the plan's steps would use now."""
        return {
            model_type: ModelCache.generation(tenant_id=request.tenant_id, model_type=model_type)
            for model_type in plan.model_types
        }

    def _work_id(self, request: Request, image: ImageVersion, plan: Plan, models: Mapping[str, int]) -> WorkId:
        """Hash what determines a result: image version, steps with their options, and model generations."""
        pipeline = [request.pipeline, plan.digest]
        identity = {"image": [image.uri, image.generation], "pipeline": pipeline, "models": dict(models)}
        sha256 = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        return WorkId(image.generation, self._config.gcs_bucket, models, sha256)

    def _write(
        self,
        request: Request,
        image: ImageVersion,
        plan: Plan,
        ctx: ProcessingContext,
        *,
        results: ResultStore,
        existing: ObjectStat | None,
    ) -> RunResult:
        with stage("draw"):
            pictures = render_pictures(ctx, self._config.thumbnail_sizes)
        # Not the work id of the duplicate check: a model may have been refreshed since, and the result is
        # identified by the generations that produced it.
        models = {model_type: model.source.generation for model_type, model in ctx.models.items()}
        work = self._work_id(request, image, plan, models)

        def document() -> bytes:
            return documents.to_json(
                documents.result(
                    request,
                    image,
                    ctx,
                    pipeline_digest=plan.digest,
                    created_at=datetime.now(UTC),
                    timings_ms=current_record().timings_ms,
                )
            )

        data = results.write(work, pictures, document, existing=existing)
        if data is None:
            return RunResult(duplicate=True)
        current_record().add_fields(counts=documents.counts(ctx))
        return RunResult(duplicate=False, document=data)


def _image_missing_error(request: Request) -> Ignored | ImageNotFound:
    """Return the error for a missing image: an upload's event is moot then, a caller must be told."""
    if request.source == "upload":
        return Ignored("The image, or this generation of it, is gone")
    generation = f" of generation {request.image.generation}" if request.image.generation else ""
    return ImageNotFound(f"There is no image {request.image.uri}{generation}")
