"""SegmentationStep: the whole image to the tenant's segmenter, its answer to `segments`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

from shared.config import Config
from shared.ml.output_layout import ModelType
from shared.processing_context import ProcessingContext
from shared.processors.segmentation_processor import SegmentationProcessor, SegmentOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentationStep:
    model_types: ClassVar[tuple[ModelType, ...]] = ("segment",)
    needs_full_resolution: ClassVar[bool] = False

    options: SegmentOptions = field(default_factory=SegmentOptions)
    run_lengths: bool = False

    @classmethod
    def from_json(cls, options: Mapping[str, Any], config: Config) -> Self:
        return cls(
            options=SegmentOptions.from_json(options, config), run_lengths=options.get("run_lengths", False)
        )

    def execute(self, ctx: ProcessingContext) -> ProcessingContext:
        """Raises: as `SegmentationProcessor` and its `process`."""
        processor = SegmentationProcessor(
            tenant_id=ctx.tenant_id, worker_id=ctx.worker_id, options=self.options, resampling=ctx.resampling
        )
        return replace(
            ctx,
            segments=processor.process(ctx.image, ctx.image_hw),
            segment_index=None,  # in other segments
            run_lengths=self.run_lengths,
            models={**ctx.models, "segment": processor.model},
            warnings=(*ctx.warnings, *processor.warnings),
        )
