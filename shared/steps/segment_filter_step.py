"""SegmentFilterStep: keeps the segments that are wanted, by label, by area, or the largest of each label."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np

from shared.config import Config
from shared.errors import InvalidPipeline
from shared.ml.layout import ModelType
from shared.processing_context import ProcessingContext


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentFilterStep:
    """`labels` None: all. `min_area` in px of the image. `largest`: so many of each label, by area."""

    model_types: ClassVar[tuple[ModelType, ...]] = ()

    labels: tuple[str, ...] | None = None
    min_area: float = 0.0
    largest: int | None = None

    @classmethod
    def from_json(cls, options: Mapping[str, Any], config: Config) -> Self:  # noqa: ARG003 - as every step's
        labels = options.get("labels")
        return cls(
            labels=None if labels is None else tuple(sorted(labels)),
            min_area=float(options.get("min_area", 0)),
            largest=options.get("largest"),
        )

    def execute(self, ctx: ProcessingContext) -> ProcessingContext:
        """Raises: InvalidPipeline: no step before has looked for segments, or for such a label."""
        segments = ctx.segments
        if segments is None:
            raise InvalidPipeline("segment_filter comes after a step that finds segments")
        labels = ctx.labels("segment", segments.detections.class_ids)
        if unknown := sorted(set(self.labels or ()) - set(labels)):
            raise InvalidPipeline(f"The model has no label '{unknown[0]}'; it has: {', '.join(labels)}")
        areas, class_ids = segments.areas, segments.detections.class_ids
        kept = np.ones(len(segments), bool) if self.labels is None else np.zeros(len(segments), bool)
        for class_id, label in enumerate(labels):
            if self.labels is not None and label in self.labels:
                kept |= class_ids == class_id
        kept &= areas >= self.min_area
        if self.largest is not None:
            for class_id in range(len(labels)):
                ranked = np.flatnonzero(kept & (class_ids == class_id))
                kept[ranked[np.argsort(-areas[ranked], kind="stable")][self.largest :]] = False
        return replace(ctx, segments=segments[np.flatnonzero(kept)])
