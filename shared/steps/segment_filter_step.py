"""SegmentFilterStep: keeps the segments that are wanted, by label, by area, or the largest of each label."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np

from shared.config import Config
from shared.errors import InvalidPipeline
from shared.ml.output_layout import ModelType
from shared.processing_context import ProcessingContext
from shared.processors.box_processor import class_ids_of


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentFilterStep:
    """`labels` None: all. `min_area` in px of the image. `largest`: so many of each label, by area."""

    model_types: ClassVar[tuple[ModelType, ...]] = ()
    needs_full_resolution: ClassVar[bool] = False

    labels: tuple[str, ...] | None = None
    min_area: float = 0.0
    largest: int | None = None

    @classmethod
    def from_json(cls, options: Mapping[str, Any], config: Config) -> Self:  # noqa: ARG003 - as every step's
        labels, largest = options.get("labels"), options.get("largest")
        return cls(
            labels=None if labels is None else tuple(sorted(labels)),
            min_area=float(options.get("min_area", 0)),
            largest=None if largest is None else int(largest),
        )

    def execute(self, ctx: ProcessingContext) -> ProcessingContext:
        """Raises: InvalidPipeline: no step before has looked for segments, or for such a label."""
        segments = ctx.segments
        if segments is None:
            raise InvalidPipeline("segment_filter comes after a step that finds segments")
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
        places = np.append(np.where(kept, np.cumsum(kept) - 1, -1), -1)  # where each is now; the last: in none
        segment_index = None if ctx.segment_index is None else places[ctx.segment_index]
        return replace(ctx, segments=segments[np.flatnonzero(kept)], segment_index=segment_index)
