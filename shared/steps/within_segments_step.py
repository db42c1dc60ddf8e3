"""WithinSegmentsStep: detects inside each segment, with the rest of the image masked out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

import numpy as np

from shared.errors import InvalidPipeline
from shared.ml.output_layout import ModelType
from shared.processing_context import ProcessingContext
from shared.processors.base_processor import ensure_enough_time
from shared.processors.box_processor import BoxOptions
from shared.processors.detector_processor import DetectorProcessor
from shared.processors.options import JsonOptions
from shared.processors.sahi_detector_processor import SAHIDetectorProcessor
from shared.processors.sliced_processor import SliceOptions
from shared.vision.arrays import Int64Array
from shared.vision.boxes.detections import Detections
from shared.vision.boxes.duplicates import deduplicate
from shared.vision.boxes.pairs import ensure_box_count_allowed
from shared.vision.masks.masks import mask_out
from shared.vision.masks.overlap import adjacent_masks, mask_rectangles, union


@dataclass(frozen=True, slots=True, kw_only=True)
class WithinSegmentsStep(JsonOptions):
    """Runs the tenant's detector on each segment's crop, whole or on tiles, by `detector`."""

    model_types: ClassVar[tuple[ModelType, ...]] = ("detect",)
    needs_full_resolution: ClassVar[bool] = True

    detector: Literal["detect", "sahi_detect"] = "sahi_detect"
    options: BoxOptions = field(default_factory=BoxOptions)
    slices: SliceOptions = field(default_factory=SliceOptions)

    def execute(self, ctx: ProcessingContext) -> ProcessingContext:
        """Set `detections` to those whose centre is in a segment, each once, `segment_index` and `tiles`.

        Raises:
            InvalidPipeline: There are no segments yet, or the model has no such label.
            ImageTooLarge: There are too many tiles or boxes, or an event has not the time for them.
            InvalidModel: The model cannot be served, or fails on a segment.
            ModelNotFound, StorageUnavailable, DeadlineExceeded: The model cannot be loaded, or time is short.
        """
        if ctx.segments is None:
            raise InvalidPipeline("within_segments needs a step before it that segments")
        processor: DetectorProcessor | SAHIDetectorProcessor
        if self.detector == "detect":
            processor = DetectorProcessor(tenant_id=ctx.tenant_id, options=self.options, resampling=ctx.resampling)
        else:
            processor = SAHIDetectorProcessor(
                tenant_id=ctx.tenant_id, options=self.options, slices=self.slices, resampling=ctx.resampling
            )
        parts: list[Detections] = []
        part_indices: list[Int64Array] = []
        tiles: list[Int64Array] = []
        masks = ctx.segments.in_image(ctx.image_hw)
        # A lower bound: crops are larger where neighbours touch.
        min_runtimes = [processor.min_runtime(mask.pixels.shape) for mask in masks if mask.area]
        ensure_enough_time(sum(runs for runs, _ in min_runtimes), sum(seconds for _, seconds in min_runtimes))
        rectangles = mask_rectangles(masks)
        reach = int(self.slices.overlap * max(self.slices.slice_hw or processor.model.export.canvas_hw))
        for index, mask in enumerate(masks):
            if not mask.area:
                continue
            visible = union([mask, *adjacent_masks(masks, index, reach, rectangles)])
            crop = mask_out(ctx.image, visible)
            part = processor.process(crop).shifted(visible.left, visible.top)
            part = part[mask.covers(part.centres)]
            parts.append(part)
            ensure_box_count_allowed(sum(map(len, parts)))
            part_indices.append(np.full(len(part), index, np.int64))
            if isinstance(processor, SAHIDetectorProcessor):
                corner = np.array((visible.left, visible.top) * 2, np.int64)
                tiles.append(processor.areas(crop.shape[:2]) + corner)
        detections = Detections.concatenated(parts)
        segment_index = np.concatenate([np.empty(0, np.int64), *part_indices])
        kept = deduplicate(detections, segment_index, class_agnostic=self.options.class_agnostic)
        return replace(
            ctx,
            detections=detections[kept],
            segment_index=segment_index[kept],
            tiles=np.concatenate([np.empty((0, 4), np.int64), *tiles]),
            models={**ctx.models, "detect": processor.model},
            warnings=(*ctx.warnings, *processor.warnings),
        )
