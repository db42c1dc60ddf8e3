"""The references' answers: ultralytics on the same file, sahi around it. Nothing of theirs is copied here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from sahi import AutoDetectionModel
from sahi.predict import get_sliced_prediction
from ultralytics import RTDETR, YOLO

from benchmarks.peers.matching import Answer, Setting, SliceSetting
from shared.ml.output_layout import ModelType
from shared.vision.arrays import Float64Array, SizeHW


class Theirs:
    """`canvas_hw`: what a dynamic model is run at; of any other the file says it."""

    def __init__(self, path: Path, model_type: ModelType, *, is_rtdetr: bool, canvas_hw: SizeHW) -> None:
        self._model = RTDETR(str(path)) if is_rtdetr else YOLO(str(path), task=model_type)
        self._canvas_hw = list(canvas_hw)
        self._sliced: dict[float, Any] = {}

    def find(self, image: Path, setting: Setting) -> Answer:
        """Boxes, with masks where the model has them.

        Raises:
            FileNotFoundError: an image that it cannot read.
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
        # RT-DETR's alone are not clipped to the image; ours always are.
        boxes[:, :4] = np.clip(boxes[:, :4], 0, np.tile(result.orig_shape[::-1], 2))
        masks = None if result.masks is None else list(result.masks.data.cpu().numpy() > 0)
        return Answer(boxes[:, :4], boxes[:, 4], boxes[:, 5].astype(np.int64), masks)

    def classify(self, image: Path) -> Float64Array:
        """(classes,) all scores, by class id. Raises: as `find`."""
        scores: Float64Array = self._predict(image).probs.data.cpu().numpy().astype(np.float64)
        return scores

    def sliced(self, image: Path, setting: SliceSetting) -> Answer:
        """Raises: whatever Pillow does of an image that it cannot read."""
        if setting.confidence not in self._sliced:
            self._sliced[setting.confidence] = AutoDetectionModel.from_pretrained(
                "ultralytics",
                model=self._model,
                confidence_threshold=setting.confidence,
                device="cpu",
                image_size=self._canvas_hw,
            )
        found = get_sliced_prediction(
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
            force_postprocess_type=True,  # below a confidence of 0.1 it would quietly take NMS
            verbose=0,
        ).object_prediction_list
        return Answer(
            np.array([each.bbox.to_xyxy() for each in found], np.float64).reshape(-1, 4),
            np.array([each.score.value for each in found], np.float64),
            np.array([each.category.id for each in found], np.int64),
        )

    def _predict(self, image: Path, **settings: Any) -> Any:
        return self._model.predict(
            str(image), imgsz=self._canvas_hw, device="cpu", verbose=False, save=False, **settings
        )[0]
