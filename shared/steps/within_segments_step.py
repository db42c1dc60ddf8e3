"""WithinSegmentsStep: detects inside each segment, its surroundings masked out; what lies in two counts once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Final, Literal, Self

import numpy as np
import numpy.typing as npt

from shared.config import Config
from shared.errors import InvalidPipeline
from shared.ml.output_layout import ModelType
from shared.processing_context import ProcessingContext
from shared.processors.box_processor import BoxOptions
from shared.processors.detector_processor import DetectorProcessor
from shared.processors.duration import ensure_enough_time
from shared.processors.sahi_detector_processor import SAHIDetectorProcessor
from shared.processors.slices import SliceOptions
from shared.vision.boxes.detections import Detections, Integers
from shared.vision.images.pixels import Pixels, rgb_view, with_padding_byte
from shared.vision.masks.masks import Mask
from shared.vision.masks.segments import union

_GREY: Final = 114
_SAME: Final = 0.5  # of the smaller box: seen from two segments, it is one object


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
        segment_index: list[Integers] = []
        tiles: list[Integers] = []
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


def mask_out(image: Pixels, mask: Mask) -> Pixels:
    """The mask's rectangle of the image (h, w, 3), grey where the mask is not."""
    height, width = mask.pixels.shape
    crop = with_padding_byte(image[mask.top : mask.top + height, mask.left : mask.left + width]).copy()
    crop[~mask.pixels] = _GREY
    return rgb_view(crop)


def adjacent_masks(masks: Sequence[Mask], index: int, reach: int) -> list[Mask]:
    """Of the masks that touch one of them, what lies up to `reach` px beyond its rectangle.

    With them, an object across a border is seen whole from both sides, not as two halves that nothing joins.
    """
    mask = masks[index]
    height, width = mask.pixels.shape
    left, top, right, bottom = mask.left, mask.top, mask.left + width, mask.top + height
    grown = np.zeros((height + 2, width + 2), bool)  # by a pixel to each side
    for y, x in ((0, 1), (1, 0), (1, 1), (1, 2), (2, 1)):
        grown[y : y + height, x : x + width] |= mask.pixels
    found = []
    for place, other in enumerate(masks):
        near = other.cropped(left - 1, top - 1, right + 1, bottom + 1)
        if place == index or not near.pixels.size:
            continue
        rows, columns = near.pixels.shape
        y, x = near.top - top + 1, near.left - left + 1
        if (grown[y : y + rows, x : x + columns] & near.pixels).any():
            found.append(other.cropped(left - reach, top - reach, right + reach, bottom + reach))
    return found


def deduplicate(found: Detections, segment_index: Integers, *, class_agnostic: bool) -> npt.NDArray[np.intp]:
    """Indices, strongest first, without those of which a stronger one was seen from another segment (n,)."""
    order = found.order()
    x1, y1, x2, y2 = found.boxes_xyxy[order].T.astype(np.float64)
    areas = (x2 - x1) * (y2 - y1)
    segment_index = segment_index[order]
    class_ids = np.zeros_like(segment_index) if class_agnostic else found.class_ids[order]
    kept = np.ones(len(order), bool)
    for turn in range(len(order)):
        if not kept[turn]:
            continue
        width = np.minimum(x2, x2[turn]) - np.maximum(x1, x1[turn])
        height = np.minimum(y2, y2[turn]) - np.maximum(y1, y1[turn])
        common = np.maximum(width, 0) * np.maximum(height, 0)
        same = (common > 0) & (common >= _SAME * np.minimum(areas, areas[turn]))
        same &= (class_ids == class_ids[turn]) & (segment_index != segment_index[turn])
        same[: turn + 1] = False
        kept &= ~same
    return order[kept]
