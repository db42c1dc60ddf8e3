"""SegmentationProcessor: outlines of the objects that the tenant's segment model finds in an image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numpy as np

from shared.config import Config
from shared.processors.box_processor import BoxOptions, BoxProcessor
from shared.runtime.event_record import stage
from shared.vision.arrays import Pixels, SizeHW
from shared.vision.boxes.detections import Detections
from shared.vision.images.letterbox import Resampling
from shared.vision.masks.masks import canvas_masks, image_masks
from shared.vision.masks.segments import Segments


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentOptions(BoxOptions):
    """`resolution`: masks on the model's canvas, as the reference has them, or at the image's own size."""

    resolution: Literal["canvas", "image"] = "canvas"

    @classmethod
    def from_json(cls, options: Mapping[str, Any], config: Config) -> Self:
        """As `BoxOptions.from_json`."""
        boxes = super(SegmentOptions, cls).from_json(options, config)  # slots made the class anew
        return replace(boxes, resolution=options.get("resolution", "canvas"))


class SegmentationProcessor(BoxProcessor):
    model_type = "segment"

    def __init__(
        self,
        *,
        tenant_id: str,
        worker_id: int = 0,
        options: SegmentOptions | None = None,
        resampling: Resampling = "exact",
    ) -> None:
        """Raises: as `BoxProcessor`."""
        super().__init__(
            tenant_id=tenant_id, worker_id=worker_id, options=options or SegmentOptions(), resampling=resampling
        )
        self._resolution = (options or SegmentOptions()).resolution

    def process(self, image: Pixels, image_hw: SizeHW | None = None) -> Segments:
        """Segment (h, w, 3) uint8 RGB, strongest first; an object with an empty mask is none.

        `image_hw`: as for `boxes`.

        Raises:
            InvalidModel: the model fails on this input, or answers with what are no boxes.
        """
        found = self.boxes(image, image_hw)
        with stage("postprocess"):
            canvas_boxes = found.detections.boxes_xyxy
            prototypes = found.prototypes if found.prototypes is not None else np.zeros((0, 1, 1), np.float32)
            detections = Detections(
                found.letterbox.to_image_coords(canvas_boxes),
                found.detections.confidences,
                found.detections.class_ids,
            )
            if self._resolution == "image":
                masks = image_masks(found.coefficients, prototypes, canvas_boxes, found.letterbox)
                segments = Segments(detections, tuple(masks))
            else:
                masks = canvas_masks(found.coefficients, prototypes, canvas_boxes, found.letterbox.canvas_hw)
                segments = Segments(detections, tuple(masks), found.letterbox)
            order = detections.order()
            return segments[order[segments.areas[order] > 0]]
