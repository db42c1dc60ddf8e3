"""AggregateStep: totals of each label in each segment, beside the totals that every result has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np

from shared.config import Config
from shared.errors import InvalidPipeline
from shared.ml.output_layout import ModelType
from shared.processing_context import ProcessingContext


@dataclass(frozen=True, slots=True, kw_only=True)
class AggregateStep:
    """Detections that no step has yet said the segment of belong to the first segment their centre lies in."""

    model_types: ClassVar[tuple[ModelType, ...]] = ()
    needs_full_resolution: ClassVar[bool] = False

    @classmethod
    def from_json(cls, options: Mapping[str, Any], config: Config) -> Self:  # noqa: ARG003 - as every step's
        return cls()

    def execute(self, ctx: ProcessingContext) -> ProcessingContext:
        """Raises: InvalidPipeline: there is nothing to count yet."""
        if ctx.detections is None and ctx.segments is None:
            raise InvalidPipeline("aggregate comes after a step that finds something")
        segment_index = ctx.segment_index
        if segment_index is None and ctx.detections is not None and ctx.segments is not None:
            segment_index = np.full(len(ctx.detections), -1, np.int64)
            for index, mask in enumerate(ctx.segments.in_image(ctx.image_hw)):
                segment_index[(segment_index < 0) & mask.covers(ctx.detections.centres)] = index
        return replace(ctx, segment_index=segment_index, include_segment_counts=True)
