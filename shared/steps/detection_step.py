"""DetectionStep: the whole image to the tenant's detector, its answer to `detections`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

from shared.config import Config
from shared.ml.output_layout import ModelType
from shared.processing_context import ProcessingContext
from shared.processors.box_processor import BoxOptions
from shared.processors.detector_processor import DetectorProcessor


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionStep:
    model_types: ClassVar[tuple[ModelType, ...]] = ("detect",)
    needs_full_resolution: ClassVar[bool] = False

    options: BoxOptions = field(default_factory=BoxOptions)

    @classmethod
    def from_json(cls, options: Mapping[str, Any], config: Config) -> Self:
        return cls(options=BoxOptions.from_json(options, config))

    def execute(self, ctx: ProcessingContext) -> ProcessingContext:
        """Raises: as `DetectorProcessor` and its `process`."""
        processor = DetectorProcessor(
            tenant_id=ctx.tenant_id, worker_id=ctx.worker_id, options=self.options, resampling=ctx.resampling
        )
        detections = processor.process(ctx.image, ctx.image_hw)
        return replace(
            ctx,
            detections=detections,
            segment_index=None,  # those of other detections
            models={**ctx.models, "detect": processor.model},
            warnings=(*ctx.warnings, *processor.warnings),
        )
