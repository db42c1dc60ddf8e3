"""DetectorProcessor: boxes of the objects that the tenant's detect model finds in an image."""

from __future__ import annotations

from shared.processors.box_processor import BoxProcessor
from shared.vision.arrays import Pixels, SizeHW
from shared.vision.boxes.detections import Detections


class DetectorProcessor(BoxProcessor):
    model_type = "detect"

    def process(self, image: Pixels, image_hw: SizeHW | None = None) -> Detections:
        """Detect in (h, w, 3) uint8 RGB; boxes in px of that image, clipped to it, strongest first.

        `image_hw`: as for `boxes`.

        Raises:
            InvalidModel: the model fails on this input, or answers with what are no boxes.
        """
        found = self.boxes(image, image_hw)
        boxes = found.letterbox.to_image_coords(found.detections.boxes_xyxy)
        return Detections(boxes, found.detections.confidences, found.detections.class_ids).sorted()
