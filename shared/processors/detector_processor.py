"""DetectorProcessor: boxes of the objects that the tenant's detect model finds in an image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shared.errors import InvalidModel
from shared.ml.export import Export
from shared.processors.base_processor import BaseProcessor
from shared.summary import stage
from shared.vision.detections import Detections
from shared.vision.letterbox import Letterbox, least_canvas, letterbox
from shared.vision.nms import nms
from shared.vision.pixels import Pixels
from shared.vision.yolo import decode_raw


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionOptions:
    """Confidences must be above the one threshold, overlaps at most the other; both 0 to 1."""

    confidence_threshold: float = 0.25
    iou_threshold: float = 0.7
    max_detections: int = 300


class DetectorProcessor(BaseProcessor):
    model_type = "detect"

    def __init__(self, *, tenant_id: str, worker_id: int = 0, options: DetectionOptions | None = None) -> None:
        """Raises: as `ModelCache.get_model`."""
        super().__init__(tenant_id=tenant_id, worker_id=worker_id)
        self._options = options or DetectionOptions()

    def process(self, image: Pixels) -> Detections:
        """Detect in (h, w, 3) uint8 RGB; boxes in px of that image, clipped to it, strongest first.

        Raises:
            InvalidModel: the model fails on this input, or answers with what are no boxes.
        """
        export = self.model.export
        with stage("preprocess"):
            box = letterbox(image.shape[:2], _canvas(export, image.shape[:2]))
            batch = to_batch(box, image, export)
        with stage("infer"):
            output = self.model.run(batch)[0]
        with stage("postprocess"):
            options = self._options
            found = decode_raw(
                output[0], classes=len(export.labels), confidence_threshold=options.confidence_threshold
            )
            if not (np.isfinite(found.boxes_xyxy).all() and (found.confidences <= 1).all()):
                raise InvalidModel("The model found boxes that are not numbers, or confidences above 1")
            found = nms(found, iou_threshold=options.iou_threshold, max_detections=options.max_detections)
            return Detections(box.undo(found.boxes_xyxy), found.confidences, found.class_ids).sorted()


def to_batch(box: Letterbox, image: Pixels, export: Export) -> npt.NDArray[np.floating]:
    """(h, w, 3) uint8 to (B, 3, H, W) in 0 to 1; of a model with a fixed batch the rest stays empty."""
    shape = export.batch or 1, 3, *box.canvas_hw
    batch = np.zeros(shape, np.float32) if shape[0] > 1 else np.empty(shape, np.float32)
    box.draw(image, batch[0])
    return batch.astype(export.dtype, copy=False)


def _canvas(export: Export, image_hw: tuple[int, int]) -> tuple[int, int]:
    if export.dynamic:
        return least_canvas(image_hw, export.canvas_hw, export.stride)
    return export.canvas_hw
