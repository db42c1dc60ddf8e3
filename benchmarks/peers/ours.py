"""Run a model file on an image file with the deployed processors of this project."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.peers.matching import Predictions, Setting, SliceSetting
from local.folder_store import FolderStore
from shared.ml.model_cache import ModelCache
from shared.ml.onnx_model import OnnxModel
from shared.ml.output_layout import ModelType
from shared.processors.box_processor import BoxOptions
from shared.processors.classifier_processor import ClassifierOptions, ClassifierProcessor
from shared.processors.detector_processor import DetectorProcessor
from shared.processors.sahi_detector_processor import SAHIDetectorProcessor
from shared.processors.segmentation_processor import SegmentationProcessor, SegmentOptions
from shared.processors.sliced_processor import SliceOptions
from shared.vision.arrays import BoolArray, Float64Array, Pixels, SizeHW
from shared.vision.boxes.detections import Detections
from shared.vision.boxes.matching import OverlapMetric
from shared.vision.boxes.merge import MergeKind
from shared.vision.images.codec import decode
from shared.vision.masks.masks import Mask

TENANT: Final = "peer"
_MAX_PIXELS: Final = 200_000_000


class Ours:
    """Runs one model file."""

    def __init__(self, path: Path, model_type: ModelType) -> None:
        """Load the model.

        Raises:
            InvalidModel: The file is not a supported model of that type.
        """
        store = FolderStore({f"models/{TENANT}/{model_type}.onnx": path})
        ModelCache.configure(store, bucket="local", refresh_s=1e9)
        self.model: OnnxModel = ModelCache.get_model(tenant_id=TENANT, model_type=model_type)

    def read(self, path: Path) -> Pixels:
        """Decode an image file."""
        return decode(path.read_bytes(), max_pixels=_MAX_PIXELS)

    def detect(self, image: Pixels, setting: Setting) -> Predictions:
        options = BoxOptions(**self._options(setting))
        return _predictions(DetectorProcessor(tenant_id=TENANT, options=options).process(image))

    def segment(self, image: Pixels, setting: Setting) -> Predictions:
        """Return predictions with masks on the canvas, or in the image if the setting asks for them."""
        options = SegmentOptions(**self._options(setting), resolution="image" if setting.in_image else "canvas")
        segments = SegmentationProcessor(tenant_id=TENANT, options=options).process(image)
        frame_hw = image.shape[:2] if segments.canvas is None else segments.canvas.canvas_hw
        return _predictions(segments.detections, [_full_mask(mask, frame_hw) for mask in segments.masks])

    def classify(self, image: Pixels) -> Float64Array:
        """Return the scores of all classes (classes,), by class id."""
        options = ClassifierOptions(top_k=100_000)
        classes = ClassifierProcessor(tenant_id=TENANT, options=options).process(image)
        return classes.confidences[np.argsort(classes.class_ids)].astype(np.float64)

    def sliced(self, image: Pixels, setting: SliceSetting) -> Predictions:
        slices = SliceOptions(
            slice_hw=setting.slice_hw,
            overlap=setting.overlap,
            full_image=setting.full_image,
            kind=MergeKind(setting.kind),
            metric=OverlapMetric(setting.metric),
            threshold=setting.threshold,
        )
        options = BoxOptions(confidence_threshold=setting.confidence, class_agnostic=setting.class_agnostic)
        return _predictions(SAHIDetectorProcessor(tenant_id=TENANT, options=options, slices=slices).process(image))

    def _options(self, setting: Setting) -> dict[str, Any]:
        """Return the setting as options of a processor, with classes by their labels."""
        labels = None
        if setting.classes is not None:
            labels = tuple(self.model.export.labels[index] for index in setting.classes)
        return {
            "confidence_threshold": setting.confidence,
            "iou_threshold": setting.iou,
            "class_agnostic": setting.class_agnostic,
            "max_detections": setting.max_detections,
            "labels": labels,
        }


def _predictions(detections: Detections, masks: list[BoolArray] | None = None) -> Predictions:
    return Predictions(
        detections.boxes_xyxy.astype(np.float64),
        detections.confidences.astype(np.float64),
        detections.class_ids,
        masks,
    )


def _full_mask(mask: Mask, frame_hw: SizeHW) -> BoolArray:
    pixels = np.zeros(frame_hw, bool)
    height, width = mask.pixels.shape
    pixels[mask.top : mask.top + height, mask.left : mask.left + width] = mask.pixels
    return pixels
