"""SAHIDetectionStep: tiles of the image to the tenant's detector or segmenter, merged, as its answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Self

from shared.config import Config
from shared.ml.output_layout import ModelType
from shared.processing_context import ProcessingContext
from shared.processors.box_processor import BoxOptions
from shared.processors.sahi_detector_processor import SAHIDetectorProcessor
from shared.processors.sahi_segmentation_processor import SAHISegmentationProcessor
from shared.processors.segmentation_processor import SegmentOptions
from shared.processors.slices import SliceOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class SAHIDetectionStep:
    """`model`: whose answer is wanted, boxes (to `detections`) or masks (to `segments`)."""

    needs_full_resolution: ClassVar[bool] = True

    model: Literal["detect", "segment"] = "detect"
    options: BoxOptions = field(default_factory=BoxOptions)
    slices: SliceOptions = field(default_factory=SliceOptions)

    @property
    def model_types(self) -> tuple[ModelType, ...]:
        return (self.model,)

    @classmethod
    def from_json(cls, options: Mapping[str, Any], config: Config) -> Self:
        model = options.get("model", "detect")
        kind = BoxOptions if model == "detect" else SegmentOptions
        return cls(
            model=model,
            options=kind.from_json(options, config),
            slices=SliceOptions.from_json(options, config),
        )

    def execute(self, ctx: ProcessingContext) -> ProcessingContext:
        """Raises: as the processors and their `process`."""
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
            segment_index=None,  # of other detections, or in other segments
            tiles=processor.areas(ctx.image_hw),
            models={**ctx.models, self.model: processor.model},
            warnings=(*ctx.warnings, *processor.warnings),
        )
