"""WithinSegmentsStep: detects inside each segment, its surroundings masked out; what lies in two counts once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np

from shared.config import Config
from shared.errors import InvalidPipeline
from shared.ml.output_layout import ModelType
from shared.processing_context import ProcessingContext
from shared.processors.box_processor import BoxOptions
from shared.processors.detector_processor import DetectorProcessor
from shared.processors.duration import ensure_enough_time
from shared.processors.sahi_detector_processor import SAHIDetectorProcessor
from shared.processors.slices import SliceOptions
from shared.vision.arrays import Int64Array
from shared.vision.boxes.detections import Detections
from shared.vision.boxes.duplicates import deduplicate
from shared.vision.masks.masks import mask_out
from shared.vision.masks.overlap import adjacent_masks, union


@dataclass(frozen=True, slots=True, kw_only=True)
class WithinSegmentsStep:
    """`detector`: on each segment's crop as it is, or on slices of it."""

    model_types: ClassVar[tuple[ModelType, ...]] = ("detect",)
    needs_full_resolution: ClassVar[bool] = True

    detector: Literal["detect", "sahi_detect"] = "sahi_detect"
    options: BoxOptions = field(default_factory=BoxOptions)
    slices: SliceOptions = field(default_factory=SliceOptions)

    @classmethod
    def from_json(cls, options: Mapping[str, Any], config: Config) -> Self:
        return cls(
            detector=options.get("detector", "sahi_detect"),
            options=BoxOptions.from_json(options, config),
            slices=SliceOptions.from_json(options, config),
        )

    def execute(self, ctx: ProcessingContext) -> ProcessingContext:
        """Detections whose centre is in a segment, each with the segment that it is in.

        Raises: as the processors; InvalidPipeline: no step before has looked for segments.
        """
        if ctx.segments is None:
            raise InvalidPipeline("within_segments comes after a step that finds segments")
        processor: DetectorProcessor | SAHIDetectorProcessor
        if self.detector == "detect":
            processor = DetectorProcessor(
                tenant_id=ctx.tenant_id, worker_id=ctx.worker_id, options=self.options, resampling=ctx.resampling
            )
        else:
            processor = SAHIDetectorProcessor(
                tenant_id=ctx.tenant_id, options=self.options, slices=self.slices, resampling=ctx.resampling
            )
        parts: list[Detections] = []
        segment_index: list[Int64Array] = []
        tiles: list[Int64Array] = []
        masks = ctx.segments.in_image(ctx.image_hw)
        durations = [
            processor.min_runtime(mask.pixels.shape) for mask in masks if mask.area
        ]  # or longer: with neighbours
        ensure_enough_time(sum(runs for runs, _ in durations), sum(least_s for _, least_s in durations))
        reach = int(self.slices.overlap * max(self.slices.slice_hw or processor.model.export.canvas_hw))
        for index, mask in enumerate(masks):
            if not mask.area:
                continue
            shown = union([mask, *adjacent_masks(masks, index, reach)])
            crop = mask_out(ctx.image, shown)
            part = processor.process(crop).shifted(shown.left, shown.top)
            part = part[mask.covers(part.centres)]
            parts.append(part)
            segment_index.append(np.full(len(part), index, np.int64))
            if isinstance(processor, SAHIDetectorProcessor):
                corner = np.array((shown.left, shown.top) * 2, np.int64)
                tiles.append(processor.areas(crop.shape[:2]) + corner)
        found = Detections.concatenated(parts)
        home = np.concatenate([np.empty(0, np.int64), *segment_index])
        kept = deduplicate(found, home, class_agnostic=self.options.class_agnostic)
        return replace(
            ctx,
            detections=found[kept],
            segment_index=home[kept],
            tiles=np.concatenate([np.empty((0, 4), np.int64), *tiles]),
            models={**ctx.models, "detect": processor.model},
            warnings=(*ctx.warnings, *processor.warnings),
        )
