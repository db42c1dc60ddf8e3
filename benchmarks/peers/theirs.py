"""Run a model file on an image file with ultralytics, and with sahi around it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from sahi import AutoDetectionModel
from sahi.predict import get_sliced_prediction
from ultralytics import RTDETR, YOLO

from benchmarks.peers.matching import Predictions, Setting, SliceSetting
from shared.ml.output_layout import ModelType
from shared.vision.arrays import Float64Array, SizeHW


class Theirs:
    """Runs one model file; `canvas_hw` is the canvas of a dynamic model."""

    def __init__(self, path: Path, model_type: ModelType, *, is_rtdetr: bool, canvas_hw: SizeHW) -> None:
        self._model = RTDETR(str(path)) if is_rtdetr else YOLO(str(path), task=model_type)
        self._canvas_hw = list(canvas_hw)
        self._sliced: dict[float, Any] = {}

    def predict(self, image: Path, setting: Setting) -> Predictions:
        """Return boxes, with masks if the model has them.

        Raises:
            FileNotFoundError: The image cannot be read.
        """
        result = self._predict(
            image,
            conf=setting.confidence,
            iou=setting.iou,
            agnostic_nms=setting.class_agnostic,
            max_det=setting.max_detections,
            classes=None if setting.classes is None else list(setting.classes),
            retina_masks=setting.in_image,
        )
        boxes = result.boxes.data.cpu().numpy().astype(np.float64)
        # Only boxes of RT-DETR are not clipped to the image.
        boxes[:, :4] = np.clip(boxes[:, :4], 0, np.tile(result.orig_shape[::-1], 2))
        masks = None if result.masks is None else list(result.masks.data.cpu().numpy() > 0)
        return Predictions(boxes[:, :4], boxes[:, 4], boxes[:, 5].astype(np.int64), masks)

    def classify(self, image: Path) -> Float64Array:
        """Return the scores of all classes (classes,), by class id.

        Raises:
            FileNotFoundError: The image cannot be read.
        """
        scores: Float64Array = self._predict(image).probs.data.cpu().numpy().astype(np.float64)
        return scores

    def sliced(self, image: Path, setting: SliceSetting) -> Predictions:
        """Return the boxes of sliced prediction.

        Raises:
            OSError: Pillow cannot read the image.
        """
        if setting.confidence not in self._sliced:
            self._sliced[setting.confidence] = AutoDetectionModel.from_pretrained(
                "ultralytics",
                model=self._model,
                confidence_threshold=setting.confidence,
                device="cpu",
                image_size=self._canvas_hw,
            )
        predictions = get_sliced_prediction(
            str(image),
            self._sliced[setting.confidence],
            slice_height=setting.slice_hw[0],
            slice_width=setting.slice_hw[1],
            overlap_height_ratio=setting.overlap,
            overlap_width_ratio=setting.overlap,
            perform_standard_pred=setting.full_image,
            postprocess_type=setting.kind,
            postprocess_match_metric=setting.metric,
            postprocess_match_threshold=setting.threshold,
            postprocess_class_agnostic=setting.class_agnostic,
            force_postprocess_type=True,  # otherwise it uses NMS below a confidence of 0.1
            verbose=0,
        ).object_prediction_list
        return Predictions(
            np.array([each.bbox.to_xyxy() for each in predictions], np.float64).reshape(-1, 4),
            np.array([each.score.value for each in predictions], np.float64),
            np.array([each.category.id for each in predictions], np.int64),
        )

    def _predict(self, image: Path, **settings: Any) -> Any:
        return self._model.predict(
            str(image), imgsz=self._canvas_hw, device="cpu", verbose=False, save=False, **settings
        )[0]
