"""Computes a job in this process: decodes the image, runs the steps, draws the pictures, encodes the findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict

from shared.config import Config
from shared.ml.model_cache import ModelCache
from shared.ml.output_layout import ModelType
from shared.pipeline.definitions import Plan
from shared.pipeline.job import Computed, Job, Models
from shared.processing_context import ProcessingContext
from shared.processors.box_processor import min_decode_size
from shared.results import documents
from shared.results.picture import render_pictures
from shared.runtime.activity import activity
from shared.runtime.event_record import stage
from shared.vision.images import codec


class InProcess:
    """The Computer of a process that computes by itself, with its ModelCache: a worker, or a command."""

    def __init__(self, config: Config) -> None:
        """Use the limits and defaults of `config`."""
        self._config = config

    def live_models(self, tenant_id: str, model_types: Sequence[ModelType]) -> dict[ModelType, int]:
        """Return the generations that the ModelCache would use; see `Computer`."""
        return {each: ModelCache.generation(tenant_id=tenant_id, model_type=each) for each in model_types}

    def expire_models(self, tenant_id: str, model_types: Sequence[str]) -> None:
        """Refresh these models at their next use; see `Computer`."""
        ModelCache.expire(tenant_id=tenant_id, model_types=model_types)

    def prepare(self, tenant_id: str, plan: Plan) -> Models:
        """Return the generations that decide at which size the image is decoded; see `Computer`."""
        if not plan.decodes_downscaled:
            return Models({})
        return Models(
            {
                each: ModelCache.get_model(tenant_id=tenant_id, model_type=each).source.generation
                for each in plan.model_types
            }
        )

    def compute(self, job: Job, image: bytes) -> Computed:
        """Compute a job; see `Computer`."""
        plan = Plan.from_definition(job.definition, self._config)
        with ExitStack() as stack:
            if job.models.generations:
                # One generation for the decoded size and for all steps, even if a newer one is uploaded meanwhile.
                stack.enter_context(ModelCache.using_generations(job.tenant_id, job.models.generations))
            ctx = self._decode(job.tenant_id, image, plan)
            for step in plan.steps:
                ctx = step.execute(ctx)
        with stage("draw"), activity("draw"):
            pictures = render_pictures(ctx, self._config.thumbnail_sizes)
        findings = documents.findings(job.tenant_id, job.image, job.pipeline, ctx, pipeline_digest=plan.digest)
        return Computed(
            findings=documents.to_json(findings),
            pictures=pictures,
            models={each: ctx.models[each].source.generation for each in plan.model_types if each in ctx.models},
            counts=documents.logged_counts(ctx),
        )

    def cache_stats(self) -> Mapping[str, int]:
        """Return the counts and sizes of this process's ModelCache."""
        return asdict(ModelCache.stats())

    def close(self) -> None:
        """Do nothing: there are no other processes."""

    def _decode(self, tenant_id: str, image: bytes, plan: Plan) -> ProcessingContext:
        """Decode an image at full resolution, or no larger than the plan's models need it.

        Raises:
            ImageTooLarge: The image exceeds the limit of pixels.
            InvalidImage: The file is damaged.
            UnsupportedImage: The file is of no accepted format.
        """
        exports = []
        if plan.decodes_downscaled:
            exports = [
                ModelCache.get_model(tenant_id=tenant_id, model_type=model_type).export
                for model_type in plan.model_types
            ]
        with stage("decode"), activity("decode"):
            pixels, image_hw = codec.decode_downscaled(
                image,
                max_pixels=self._config.max_image_pixels,
                min_size_hw=min_decode_size(exports) if exports else None,
            )
        return ProcessingContext(
            tenant_id=tenant_id, image=pixels, original_hw=image_hw, resampling=plan.resampling
        )
