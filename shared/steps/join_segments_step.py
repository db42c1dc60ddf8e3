"""JoinSegmentsStep: joins partial segments of one object that different tiles have seen."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from shared.errors import InvalidPipeline
from shared.ml.output_layout import ModelType
from shared.processing_context import ProcessingContext
from shared.processors.options import JsonOptions
from shared.vision.boxes.detections import Detections
from shared.vision.masks.overlap import group_overlapping, unions
from shared.vision.masks.segments import Segments


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinSegmentsStep(JsonOptions):
    """Joins segments of a class whose masks' intersection over the smaller (IoS) is at least `threshold`.

    Two partial masks of one object overlap in the region shared by their tiles: by a sixth or more with the
    default tile overlap of a fifth. The masks of touching neighbours overlap by a few hundredths.
    """

    model_types: ClassVar[tuple[ModelType, ...]] = ()
    needs_full_resolution: ClassVar[bool] = False

    threshold: float = field(default=0.1, metadata={"parse": float})

    def execute(self, ctx: ProcessingContext) -> ProcessingContext:
        """Replace `segments`, with masks at the image's resolution, and renumber `segment_index`.

        Raises:
            InvalidPipeline: There are no segments yet.
            ImageTooLarge: The masks have too many pixels together.
        """
        if ctx.segments is None:
            raise InvalidPipeline("join_segments needs a step before it that segments")
        order = ctx.segments.detections.order()
        detections = ctx.segments.detections[order]
        in_image = ctx.segments.in_image(ctx.image_hw)
        masks = [in_image[index] for index in order.tolist()]
        firsts = group_overlapping(masks, detections.class_ids, self.threshold)
        kept, joined_index = np.unique(firsts, return_inverse=True)
        bounds = np.cumsum(np.bincount(joined_index, minlength=len(kept)))
        groups = np.split(np.argsort(joined_index, kind="stable"), bounds)[:-1]
        grouped_boxes = [detections.boxes_xyxy[group] for group in groups]
        boxes = np.array([(*group[:, :2].min(0), *group[:, 2:].max(0)) for group in grouped_boxes], np.float32)
        segments = Segments(
            Detections(boxes.reshape(-1, 4), detections.confidences[kept], detections.class_ids[kept]),
            unions(masks, groups),
        )
        new_index = np.empty(len(order) + 1, np.int64)  # by old index; the last element is for -1, no segment
        new_index[order], new_index[-1] = joined_index, -1
        return replace(
            ctx,
            segments=segments,
            segment_index=None if ctx.segment_index is None else new_index[ctx.segment_index],
        )
