"""JoinSegmentsStep: what tiles saw of one segment becomes one: a bed longer than a tile is found in parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np

from shared.config import Config
from shared.errors import InvalidPipeline
from shared.ml.output_layout import ModelType
from shared.processing_context import ProcessingContext
from shared.vision.boxes.detections import Detections
from shared.vision.masks.masks import ensure_mask_pixels_allowed
from shared.vision.masks.overlap import group_overlapping, union
from shared.vision.masks.segments import Segments


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinSegmentsStep:
    """Segments of a class are one if the smaller of two has `threshold` of its pixels in common with the other.

    What two tiles saw of one thing has in common what lies where they overlap: with tiles that overlap by a fifth
    (the default) a sixth or more. Neighbours whose masks run into each other have a few hundredths.
    """

    model_types: ClassVar[tuple[ModelType, ...]] = ()
    needs_full_resolution: ClassVar[bool] = False

    threshold: float = 0.1

    @classmethod
    def from_json(cls, options: Mapping[str, Any], config: Config) -> Self:  # noqa: ARG003 - as every step's
        return cls(threshold=float(options.get("threshold", 0.1)))

    def execute(self, ctx: ProcessingContext) -> ProcessingContext:
        """Masks are at the image's own resolution then.

        Raises:
            InvalidPipeline: no step before has looked for segments.
            ImageTooLarge: as `Segments`.
        """
        if ctx.segments is None:
            raise InvalidPipeline("join_segments comes after a step that finds segments")
        order = ctx.segments.detections.order()
        found = ctx.segments.detections[order]
        in_image = ctx.segments.in_image(ctx.image_hw)
        masks = [in_image[index] for index in order.tolist()]
        firsts = group_overlapping(masks, found.class_ids, self.threshold)
        kept, places = np.unique(firsts, return_inverse=True)
        groups = [np.flatnonzero(firsts == first).tolist() for first in kept.tolist()]
        corners = [found.boxes_xyxy[group] for group in groups]
        boxes = np.array([(*each[:, :2].min(0), *each[:, 2:].max(0)) for each in corners], np.float32)
        ensure_mask_pixels_allowed(
            round(float((boxes[:, 2:] - boxes[:, :2]).prod(axis=1).sum())) if len(boxes) else 0
        )
        segments = Segments(
            Detections(boxes.reshape(-1, 4), found.confidences[kept], found.class_ids[kept]),
            tuple(union([masks[index] for index in group]) for group in groups),
        )
        now = np.empty(len(order) + 1, np.int64)  # where each is; the last: in none
        now[order], now[-1] = places, -1
        return replace(
            ctx, segments=segments, segment_index=None if ctx.segment_index is None else now[ctx.segment_index]
        )
