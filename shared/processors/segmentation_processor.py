"""SegmentationProcessor: segments an image with the tenant's segmenter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from shared.processors.box_processor import BoxOptions, BoxProcessor
from shared.runtime.event_record import stage
from shared.vision.arrays import Pixels, SizeHW
from shared.vision.boxes.detections import Detections
from shared.vision.images.letterbox import Resampling
from shared.vision.masks.prototypes import canvas_masks, image_masks
from shared.vision.masks.segments import Segments


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentOptions(BoxOptions):
    """Which segments are wanted; `resolution`: that of masks, the model's canvas or the image."""

    resolution: Literal["canvas", "image"] = "canvas"


class SegmentationProcessor(BoxProcessor):
    """Runs the tenant's segmenter on whole images."""

    model_type = "segment"

    def __init__(
        self,
        *,
        tenant_id: str,
        worker_id: int = 0,
        options: SegmentOptions | None = None,
        resampling: Resampling = "exact",
    ) -> None:
        """Load and pin the tenant's segmenter.

        Raises:
            InvalidPipeline: The model has no such label.
            ModelNotFound, InvalidModel, StorageUnavailable, DeadlineExceeded: The model cannot be loaded.
        """
        super().__init__(
            tenant_id=tenant_id, worker_id=worker_id, options=options or SegmentOptions(), resampling=resampling
        )
        self._resolution = (options or SegmentOptions()).resolution

    def process(self, image: Pixels, image_hw: SizeHW | None = None) -> Segments:
        """Segment an image; return segments in image px, highest confidence first, without empty masks.

        Args:
            image: (h, w, 3) uint8 RGB.
            image_hw: The image's full resolution, if it was decoded at a reduced size.

        Raises:
            InvalidModel: The model fails on this input, or its boxes are invalid.
            ImageTooLarge: The masks have too many pixels together.
        """
        answer = self.boxes(image, image_hw)
        with stage("postprocess"):
            canvas_boxes = answer.detections.boxes_xyxy
            prototypes = answer.prototypes if answer.prototypes is not None else np.zeros((0, 1, 1), np.float32)
            detections = Detections(
                answer.letterbox.to_image_coords(canvas_boxes),
                answer.detections.confidences,
                answer.detections.class_ids,
            )
            if self._resolution == "image":
                masks = image_masks(answer.coefficients, prototypes, canvas_boxes, answer.letterbox)
                segments = Segments(detections, tuple(masks))
            else:
                masks = canvas_masks(answer.coefficients, prototypes, canvas_boxes, answer.letterbox.canvas_hw)
                segments = Segments(detections, tuple(masks), answer.letterbox)
            order = detections.order()
            return segments[order[segments.areas[order] > 0]]
