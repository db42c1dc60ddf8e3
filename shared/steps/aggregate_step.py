"""AggregateStep: counts the detections of each label in each segment."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from shared.errors import InvalidPipeline
from shared.ml.output_layout import ModelType
from shared.processing_context import ProcessingContext
from shared.processors.options import JsonOptions
from shared.vision.masks.overlap import first_covering


@dataclass(frozen=True, slots=True, kw_only=True)
class AggregateStep(JsonOptions):
    """Assigns detections to segments if no step has, and adds each segment's counts to the result.

    A detection belongs to the first segment that contains its centre.
    """

    model_types: ClassVar[tuple[ModelType, ...]] = ()
    needs_full_resolution: ClassVar[bool] = False

    def execute(self, ctx: ProcessingContext) -> ProcessingContext:
        """Set `segment_index` and `include_segment_counts`.

        Raises:
            InvalidPipeline: There are neither detections nor segments.
            DeadlineExceeded: The event's deadline passed.
        """
        if ctx.detections is None and ctx.segments is None:
            raise InvalidPipeline("aggregate needs a step before it that detects or segments")
        segment_index = ctx.segment_index
        if segment_index is None and ctx.detections is not None and ctx.segments is not None:
            segment_index = first_covering(ctx.segments.in_image(ctx.image_hw), ctx.detections.centres)
        return replace(ctx, segment_index=segment_index, include_segment_counts=True)
