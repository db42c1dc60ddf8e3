"""SAHIDetectionStep: detects or segments on overlapping tiles of the image, and merges the answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Self

from shared.config import Config
from shared.ml.output_layout import ModelType
from shared.processing_context import ProcessingContext
from shared.processors.box_processor import BoxOptions
from shared.processors.options import JsonOptions
from shared.processors.sahi_detector_processor import SAHIDetectorProcessor
from shared.processors.sahi_segmentation_processor import SAHISegmentationProcessor
from shared.processors.segmentation_processor import SegmentOptions
from shared.processors.sliced_processor import SliceOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class SAHIDetectionStep(JsonOptions):
    """Runs the tenant's detector or segmenter, by `model`, on tiles."""

    needs_full_resolution: ClassVar[bool] = True

    model: Literal["detect", "segment"] = "detect"
    options: BoxOptions = field(default_factory=BoxOptions)
    slices: SliceOptions = field(default_factory=SliceOptions)

    @property
    def model_types(self) -> tuple[ModelType, ...]:
        """The one model it uses."""
        return (self.model,)

    @classmethod
    def from_json(cls, options: Mapping[str, Any], config: Config) -> Self:
        """Read options that the schema of pipelines has accepted; a segmenter has options of its own."""
        step = super(SAHIDetectionStep, cls).from_json(options, config)  # `slots` replaces the class: no `super()`
        return step if step.model == "detect" else replace(step, options=SegmentOptions.from_json(options, config))

    def execute(self, ctx: ProcessingContext) -> ProcessingContext:
        """Set `detections` or `segments`, and `tiles`.

        Raises:
            ImageTooLarge: There are too many tiles, an event has not the time for them, or masks are too large.
            InvalidPipeline: The model has no such label.
            InvalidModel: The model cannot be served, or fails on this image.
            ModelNotFound, StorageUnavailable, DeadlineExceeded: The model cannot be loaded, or time is short.
        """
        processor: SAHIDetectorProcessor | SAHISegmentationProcessor
        if self.model == "detect":
            processor = SAHIDetectorProcessor(
                tenant_id=ctx.tenant_id, options=self.options, slices=self.slices, resampling=ctx.resampling
            )
            ctx = replace(ctx, detections=processor.process(ctx.image))
        else:
            options = self.options if isinstance(self.options, SegmentOptions) else None
            processor = SAHISegmentationProcessor(
                tenant_id=ctx.tenant_id, options=options, slices=self.slices, resampling=ctx.resampling
            )
            ctx = replace(ctx, segments=processor.process(ctx.image))
        return replace(
            ctx,
            segment_index=None,  # indexed the detections, or into the segments, before
            tiles=processor.areas(ctx.image_hw),
            models={**ctx.models, self.model: processor.model},
            warnings=(*ctx.warnings, *processor.warnings),
        )
