"""DetectionStep: detects objects in the whole image."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

from shared.ml.output_layout import ModelType
from shared.processing_context import ProcessingContext
from shared.processors.box_processor import BoxOptions
from shared.processors.detector_processor import DetectorProcessor
from shared.processors.options import JsonOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionStep(JsonOptions):
    """Runs the tenant's detector."""

    model_types: ClassVar[tuple[ModelType, ...]] = ("detect",)
    needs_full_resolution: ClassVar[bool] = False

    options: BoxOptions = field(default_factory=BoxOptions)

    def execute(self, ctx: ProcessingContext) -> ProcessingContext:
        """Set `detections`.

        Raises:
            InvalidPipeline: The model has no such label.
            InvalidModel: The model cannot be served, or fails on this image.
            ModelNotFound, StorageUnavailable, DeadlineExceeded: The model cannot be loaded.
        """
        processor = DetectorProcessor(tenant_id=ctx.tenant_id, options=self.options, resampling=ctx.resampling)
        detections = processor.process(ctx.image, ctx.image_hw)
        return replace(
            ctx,
            detections=detections,
            segment_index=None,  # indexed the detections before
            models={**ctx.models, "detect": processor.model},
            warnings=(*ctx.warnings, *processor.warnings),
        )
