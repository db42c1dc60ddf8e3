"""SegmentationStep: segments the whole image."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

from shared.ml.output_layout import ModelType
from shared.processing_context import ProcessingContext
from shared.processors.options import JsonOptions
from shared.processors.segmentation_processor import SegmentationProcessor, SegmentOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentationStep(JsonOptions):
    """Runs the tenant's segmenter; `run_lengths`: add the masks' run lengths to the result."""

    model_types: ClassVar[tuple[ModelType, ...]] = ("segment",)
    needs_full_resolution: ClassVar[bool] = False

    options: SegmentOptions = field(default_factory=SegmentOptions)
    run_lengths: bool = False

    def execute(self, ctx: ProcessingContext) -> ProcessingContext:
        """Set `segments`.

        Raises:
            ImageTooLarge: The masks have too many pixels together.
            InvalidPipeline: The model has no such label.
            InvalidModel: The model cannot be served, or fails on this image.
            ModelNotFound, StorageUnavailable, DeadlineExceeded: The model cannot be loaded.
        """
        processor = SegmentationProcessor(tenant_id=ctx.tenant_id, options=self.options, resampling=ctx.resampling)
        return replace(
            ctx,
            segments=processor.process(ctx.image, ctx.image_hw),
            segment_index=None,  # indexed into the segments before
            run_lengths=self.run_lengths,
            models={**ctx.models, "segment": processor.model},
            warnings=(*ctx.warnings, *processor.warnings),
        )
