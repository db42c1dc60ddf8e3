"""SegmentFilterStep: keeps segments by label, by area, or the largest of each label."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from shared.errors import InvalidPipeline
from shared.ml.output_layout import ModelType
from shared.processing_context import ProcessingContext
from shared.processors.box_processor import class_ids_of
from shared.processors.options import JsonOptions, sorted_tuple


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentFilterStep(JsonOptions):
    """Keeps segments of `labels` (None: all) and of `min_area` image px or more; `largest`: so many of a label."""

    model_types: ClassVar[tuple[ModelType, ...]] = ()
    needs_full_resolution: ClassVar[bool] = False

    labels: tuple[str, ...] | None = field(default=None, metadata={"parse": sorted_tuple})
    min_area: float = field(default=0.0, metadata={"parse": float})
    largest: int | None = field(default=None, metadata={"parse": int})

    def execute(self, ctx: ProcessingContext) -> ProcessingContext:
        """Filter `segments`, and renumber `segment_index`.

        Raises:
            InvalidPipeline: There are no segments yet, or the model has no such label.
        """
        segments = ctx.segments
        if segments is None:
            raise InvalidPipeline("segment_filter needs a step before it that segments")
        areas, class_ids = segments.areas, segments.detections.class_ids
        kept = areas >= self.min_area
        if self.labels is not None:
            export = ctx.models["segment"].export
            kept &= np.isin(class_ids, [index for label in self.labels for index in class_ids_of(export, label)])
        if self.largest is not None:
            labels = np.array([*ctx.labels("segment", class_ids), ""])[class_ids]
            for label in np.unique(labels[kept]):
                ranked = np.flatnonzero(kept & (labels == label))
                kept[ranked[np.argsort(-areas[ranked], kind="stable")][self.largest :]] = False
        # New indices by old ones; the last element is for -1, no segment.
        new_index = np.append(np.where(kept, np.cumsum(kept) - 1, -1), -1)
        segment_index = None if ctx.segment_index is None else new_index[ctx.segment_index]
        return replace(ctx, segments=segments[np.flatnonzero(kept)], segment_index=segment_index)
