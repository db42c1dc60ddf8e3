"""WithinSegmentsStep: detects inside each segment, its surroundings masked out; what lies in two counts once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Final, Literal, Self

import numpy as np

from shared.config import Config
from shared.errors import InvalidPipeline
from shared.ml.layout import ModelType
from shared.processing_context import ProcessingContext
from shared.processors.box_processor import BoxOptions
from shared.processors.detector_processor import DetectorProcessor
from shared.processors.sahi_detector_processor import SAHIDetectorProcessor
from shared.processors.slices import SliceOptions
from shared.vision.detections import Detections, Integers
from shared.vision.masks import Mask
from shared.vision.merge import Kind, Metric, merge
from shared.vision.pixels import Pixels, rgb_view, rgbx

_GREY: Final = 114
_SAME: Final = 0.5  # of the smaller box: seen from two segments, it is one object


@dataclass(frozen=True, slots=True, kw_only=True)
class WithinSegmentsStep:
    """`detector`: on each segment's crop as it is, or on slices of it."""

    model_types: ClassVar[tuple[ModelType, ...]] = ("detect",)

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
            processor = DetectorProcessor(tenant_id=ctx.tenant_id, worker_id=ctx.worker_id, options=self.options)
        else:
            processor = SAHIDetectorProcessor(tenant_id=ctx.tenant_id, options=self.options, slices=self.slices)
        parts: list[Detections] = []
        homes: list[Integers] = []
        tiles: list[Integers] = []
        for index, mask in enumerate(ctx.segments.in_image(ctx.image.shape[:2])):
            if not mask.pixels.size:
                continue
            crop = masked(ctx.image, mask)
            part = processor.process(crop).shifted(mask.left, mask.top)
            part = part[mask.covers(part.centres)]
            parts.append(part)
            homes.append(np.full(len(part), index, np.int64))
            if isinstance(processor, SAHIDetectorProcessor):
                corner = np.array((mask.left, mask.top) * 2, np.int64)
                tiles.append(processor.areas(crop.shape[:2]) + corner)
        found = Detections.concatenated(parts)
        merged = merge(found, kind=Kind.NMS, metric=Metric.IOS, threshold=_SAME)
        keepers = np.array([group[0] for group in merged.groups], np.intp)
        return replace(
            ctx,
            detections=merged.detections,
            homes=np.concatenate([np.empty(0, np.int64), *homes])[keepers],
            tiles=np.concatenate([np.empty((0, 4), np.int64), *tiles]),
            models={**ctx.models, "detect": processor.model},
            warnings=(*ctx.warnings, *processor.warnings),
        )


def masked(image: Pixels, mask: Mask) -> Pixels:
    """The mask's rectangle of the image (h, w, 3), grey where the mask is not."""
    height, width = mask.pixels.shape
    crop = rgbx(image[mask.top : mask.top + height, mask.left : mask.left + width]).copy()
    crop[~mask.pixels] = _GREY
    return rgb_view(crop)
