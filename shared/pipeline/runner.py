"""The journey of one request: what is already done, read, the steps, write. Knows no envelope and no arrays."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from shared.cloud.objects import ObjectStat
from shared.cloud.tenant_store import Store, TenantStores
from shared.config import Config
from shared.errors import (
    Ignored,
    ImageNotFound,
    ImageTooLarge,
    ObjectNotFound,
    StorageUnavailable,
)
from shared.events import Request, reject_own_output
from shared.ml.model_cache import ModelCache
from shared.names import RESULT_NAME
from shared.pipeline.definitions import PipelineRegistry, Plan
from shared.processing_context import ProcessingContext
from shared.processors.box_processor import min_decode_size
from shared.results import documents
from shared.results.picture import render
from shared.results.store import (
    ResultStore,
    WorkId,
    ensure_image_not_older,
    ensure_models_not_older,
    image_generation_of,
)
from shared.runtime.event_record import current_record, stage
from shared.vision.images import codec
from shared.vision.images.thumbnails import thumbnail


@dataclass(frozen=True, slots=True)
class RunResult:
    """A complete result lies in storage. `duplicate`: it did so before, and its document was not read again."""

    duplicate: bool
    document: bytes | None = None


class PipelineRunner:
    """Built once an instance; keeps nothing of a request."""

    def __init__(self, store: Store, config: Config) -> None:
        self._stores = TenantStores(
            store, models=config.gcs_bucket, uploads=config.upload_bucket, results=config.results_bucket
        )
        self._config = config
        self._pipelines = PipelineRegistry(store, config)

    def run(self, request: Request) -> RunResult:
        """Process one image, and write its result last.

        Raises:
            TenantVisionError: any of its leaves; nothing is written then, or only the picture.
        """
        with stage("lookup"):
            plan = self._pipelines.plan(request.tenant_id, request.pipeline, request.options)
        asked, request = request, self._at_generation(request)
        results = self._results(request)
        with stage("lookup"):
            earlier = results.stat()
            if earlier and self._is_done(request, plan, earlier):
                return RunResult(duplicate=True)
        try:
            ctx = self._read(request, plan)
        except ObjectNotFound as error:
            if asked.image.generation is None:
                raise StorageUnavailable("The image was replaced before it was read") from error
            raise self._gone(request) from error
        for step in plan.steps:
            ctx = step.execute(ctx)
        return self._write(request, plan, ctx, results, earlier)

    def run_and_read(self, request: Request) -> RunResult:
        """As `run`, with the document of a duplicate too, which then carries this request's own id."""
        outcome = self.run(request)
        if outcome.document is not None:
            return outcome
        name = f"{request.result_prefix}/{RESULT_NAME}"
        try:
            data = self._stores.of(request.tenant_id).read(name).data or b""
        except ObjectNotFound as error:
            raise StorageUnavailable("The result was there and is gone") from error
        return RunResult(outcome.duplicate, documents.with_request_id(data, request.request_id))

    def _at_generation(self, request: Request) -> Request:
        """The request with the generation of its image: the live one where it named none.

        Raises:
            Ignored: the image is one of our own outputs, as far as its event did not say so before.
        """
        if request.image.generation is not None and not request.origin_unknown:
            return request
        with stage("lookup"):
            try:
                stat = self._stores.of(request.tenant_id).stat(
                    request.image.name, generation=request.image.generation
                )
            except ObjectNotFound as error:
                raise self._gone(request) from error
        if request.origin_unknown:
            reject_own_output(stat.metadata)
        return replace(request, image=replace(request.image, generation=stat.generation))

    def _results(self, request: Request) -> ResultStore:
        return ResultStore(self._stores.of(request.tenant_id), request.result_prefix)

    def _is_done(self, request: Request, plan: Plan, earlier: ObjectStat) -> bool:
        """Whether it is this very work's result.

        Raises: where it is of something newer, as `Results.write`.
        """
        generation = request.image.generation or 0
        ensure_image_not_older(generation, earlier)
        if image_generation_of(earlier) != generation:
            return False
        work = self._work(request, plan, self._live_models(request, plan))
        if outdated := work.newer_models_in(earlier):  # some other instance knew of them before this one
            ModelCache.expire(tenant_id=request.tenant_id, model_types=outdated)
            work = self._work(request, plan, self._live_models(request, plan))
        ensure_models_not_older(work, earlier)
        return work.matches(earlier)

    def _live_models(self, request: Request, plan: Plan) -> dict[str, int]:
        """The generations of the models that the steps would be answered by."""
        return {
            model_type: ModelCache.generation(tenant_id=request.tenant_id, model_type=model_type)
            for model_type in plan.model_types
        }

    def _work(self, request: Request, plan: Plan, models: Mapping[str, int]) -> WorkId:
        """Same image, same steps (with the options they run with), same models: the same work."""
        image, pipeline = request.image, [request.pipeline, plan.digest]
        identity = {"image": [image.uri, image.generation], "pipeline": pipeline, "models": dict(models)}
        sha256 = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        return WorkId(image.generation or 0, self._config.gcs_bucket, models, sha256)

    def _read(self, request: Request, plan: Plan) -> ProcessingContext:
        image, config = request.image, self._config
        exports = []
        if (
            plan.resampling == "fast" and not plan.needs_full_resolution
        ):  # and a missing model is told before the download
            exports = [
                ModelCache.get_model(tenant_id=request.tenant_id, model_type=model_type).export
                for model_type in plan.model_types
            ]
        with stage("download"):
            stored = self._stores.of(request.tenant_id).read(
                image.name, generation=image.generation, max_bytes=config.max_image_bytes
            )
        if stored.data is None:
            raise ImageTooLarge(f"The image has more than {config.max_image_bytes} bytes")
        with stage("decode"):
            pixels, image_hw = codec.read(
                stored.data,
                max_pixels=config.max_image_pixels,
                least_hw=min_decode_size(exports) if exports else None,
            )
        return ProcessingContext(
            tenant_id=request.tenant_id, image=pixels, original_hw=image_hw, resampling=plan.resampling
        )

    def _gone(self, request: Request) -> Ignored | ImageNotFound:
        """An upload that is gone before we came needs no answer; who asked for an image by name does."""
        if request.by_upload:
            return Ignored("The image, or this generation of it, is gone")
        of_generation = f" of generation {request.image.generation}" if request.image.generation else ""
        return ImageNotFound(f"There is no image {request.image.uri}{of_generation}")

    def _write(
        self,
        request: Request,
        plan: Plan,
        ctx: ProcessingContext,
        results: ResultStore,
        earlier: ObjectStat | None,
    ) -> RunResult:
        with stage("draw"):
            pictures = self._pictures(ctx)
        work = self._work(request, plan, {name: model.source.generation for name, model in ctx.models.items()})

        def document() -> bytes:
            return documents.to_json(
                documents.result(
                    request,
                    ctx,
                    generation=work.image_generation,
                    pipeline_digest=plan.digest,
                    created_at=datetime.now(UTC),
                    timings_ms=current_record().timings_ms,
                )
            )

        data = results.write(work, pictures, document, found=earlier)
        if data is None:
            return RunResult(duplicate=True)
        current_record().add_fields(counts=documents.counts(ctx))
        return RunResult(duplicate=False, document=data)

    def _pictures(self, ctx: ProcessingContext) -> dict[str, bytes]:
        """JPEG files by their names: what was found, and the same at each of the smaller sizes."""
        picture = render(ctx)
        sizes = self._config.thumbnail_sizes
        smaller = {f"thumbnail-{size}.jpg": codec.encode_jpeg(thumbnail(picture, size)) for size in sizes}
        return {"annotated.jpg": codec.encode_jpeg(picture), **smaller}
