"""DetectorProcessor: detects objects in an image with the tenant's detector."""

from __future__ import annotations

from shared.processors.box_processor import BoxProcessor
from shared.vision.arrays import Pixels, SizeHW
from shared.vision.boxes.detections import Detections


class DetectorProcessor(BoxProcessor):
    """Runs the tenant's detector on whole images."""

    model_type = "detect"

    def process(self, image: Pixels, image_hw: SizeHW | None = None) -> Detections:
        """Detect in an image; return boxes in image px, clipped to it, highest confidence first.

        Args:
            image: (h, w, 3) uint8 RGB.
            image_hw: The image's full resolution, if it was decoded at a reduced size.

        Raises:
            InvalidModel: The model fails on this input, or its boxes are invalid.
        """
        answer = self.boxes(image, image_hw)
        boxes = answer.letterbox.to_image_coords(answer.detections.boxes_xyxy)
        return Detections(boxes, answer.detections.confidences, answer.detections.class_ids).sorted()
