"""BoxProcessor: base of detectors and segmenters: from an image to the boxes of one run, in canvas px."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from shared.errors import InvalidModel, InvalidPipeline
from shared.ml.export import Export
from shared.processors.base_processor import BaseProcessor
from shared.processors.options import JsonOptions, sorted_tuple
from shared.runtime.event_record import stage
from shared.vision.arrays import Float32Array, FloatArray, Pixels, SizeHW
from shared.vision.boxes import yolo
from shared.vision.boxes.detections import Detections
from shared.vision.boxes.nms import nms
from shared.vision.images.letterbox import Letterbox, Resampling, letterbox, minimal_canvas, stretch

DEFAULT_CONFIDENCE_THRESHOLD: Final = 0.25
DEFAULT_IOU_THRESHOLD: Final = 0.7


def _threshold_for_all(value: Any) -> float | None:
    return None if isinstance(value, Mapping) else float(value)


def _threshold_by_label(value: Any) -> dict[str, float] | None:
    if not isinstance(value, Mapping):
        return None
    return {label: float(threshold) for label, threshold in sorted(value.items())}


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxOptions(JsonOptions):
    """Which boxes are wanted; all thresholds are 0 to 1.

    Confidences must be above the label's threshold in `confidence_thresholds`, or else above
    `confidence_threshold`. `labels`: Only these, None for all. Of two boxes of a class (of any classes if
    `class_agnostic`) whose intersection over union is above `iou_threshold`, the less confident is suppressed.
    """

    confidence_threshold: float = field(
        default=DEFAULT_CONFIDENCE_THRESHOLD,
        metadata={"parse": _threshold_for_all, "setting": "confidence_threshold"},
    )
    confidence_thresholds: Mapping[str, float] = field(
        default_factory=dict,
        metadata={
            "option": "confidence_threshold_by_label",
            "json": "confidence_threshold",
            "parse": _threshold_by_label,
        },
    )
    labels: tuple[str, ...] | None = field(default=None, metadata={"parse": sorted_tuple})
    iou_threshold: float = field(
        default=DEFAULT_IOU_THRESHOLD, metadata={"parse": float, "setting": "iou_threshold"}
    )
    class_agnostic: bool = False
    max_detections: int = field(default=300, metadata={"parse": int, "setting": "max_detections"})

    def thresholds(self, export: Export) -> Float32Array:
        """Return each class's threshold, (classes,) float32; infinite for classes that are not wanted.

        Raises:
            InvalidPipeline: The model has no such label.
        """
        thresholds = np.full(export.classes, self.confidence_threshold, np.float32)
        for label, threshold in self.confidence_thresholds.items():
            thresholds[class_ids_of(export, label)] = threshold
        if self.labels is not None:
            wanted = np.zeros(export.classes, bool)
            for label in self.labels:
                wanted[class_ids_of(export, label)] = True
            thresholds[~wanted] = np.inf
        return thresholds


@dataclass(frozen=True, slots=True, eq=False)
class ModelBoxes:
    """The decoded outputs of one run.

    `letterbox`: Maps the image onto the canvas. `detections`: In canvas px. `coefficients` (n, masks) and
    `prototypes` (masks, h, w): Their products are the masks, for segmenters.
    """

    letterbox: Letterbox
    detections: Detections
    coefficients: Float32Array
    prototypes: FloatArray | None


class BoxProcessor(BaseProcessor):
    """Preprocesses, runs the model, decodes by its output layout, and suppresses overlapping boxes."""

    def __init__(
        self,
        *,
        tenant_id: str,
        worker_id: int = 0,
        options: BoxOptions | None = None,
        resampling: Resampling = "exact",
    ) -> None:
        """Load and pin the tenant's model.

        Raises:
            InvalidPipeline: The model has no such label.
            ModelNotFound, InvalidModel, StorageUnavailable, DeadlineExceeded: The model cannot be loaded.
        """
        super().__init__(tenant_id=tenant_id, worker_id=worker_id)
        self.options = options or BoxOptions()
        self._resampling: Resampling = resampling
        self._thresholds = self.options.thresholds(self.model.export)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Options that the model cannot honour."""
        layout, options = self.model.export.layout, self.options
        if layout.kind not in {"end_to_end", "rtdetr", "rtdetr_raw"}:
            return ()
        lowest = min(options.confidence_threshold, *options.confidence_thresholds.values(), 1.0)
        warnings = []
        if layout.has_nms and lowest < DEFAULT_CONFIDENCE_THRESHOLD:
            warnings.append(
                f"confidence_threshold {lowest:g}: {self.model_type}.onnx has NMS built in, which drops boxes "
                f"below a threshold of its own that it does not record"
            )
        if options.iou_threshold != DEFAULT_IOU_THRESHOLD or options.class_agnostic:
            warnings.append(
                f"iou_threshold {options.iou_threshold:g}, class_agnostic {str(options.class_agnostic).lower()}: "
                f"no effect, {self.model_type}.onnx suppresses overlapping boxes itself"
            )
        return tuple(warnings)

    def min_runtime(self, image_hw: SizeHW) -> tuple[int, float]:
        """Return how many runs of the model an image of a size takes, and the least seconds for all of them."""
        return 1, self.model.min_runtime_s(fit_to_canvas(self.model.export, image_hw).canvas_hw)

    def boxes(self, image: Pixels, image_hw: SizeHW | None = None) -> ModelBoxes:
        """Run the model on an image.

        Args:
            image: (h, w, 3) uint8 RGB.
            image_hw: The image's full resolution, if it was decoded at a reduced size.

        Raises:
            InvalidModel: The model fails on this input, or its boxes are invalid.
        """
        export = self.model.export
        with stage("preprocess"):
            fit = fit_to_canvas(export, image_hw or image.shape[:2])
            batch = to_batch(fit, image, export, self._resampling)
        with stage("infer"):
            outputs = self.model.run(batch)
        with stage("postprocess"):
            return self._decode(fit, outputs)

    def _decode(self, fit: Letterbox, outputs: list[FloatArray]) -> ModelBoxes:
        layout = self.model.export.layout
        output = outputs[layout.output_index][0]
        match layout.kind:
            case "raw":
                detections, coefficients = yolo.decode_raw(output, self._thresholds)
            case "v5":
                detections, coefficients = yolo.decode_v5(output, self._thresholds)
            case "rtdetr":
                detections, coefficients = yolo.decode_rtdetr(output, self._thresholds, fit.canvas_hw)
            case "rtdetr_raw":
                detections, coefficients = yolo.decode_rtdetr_raw(output, self._thresholds, fit.canvas_hw)
            case _:
                detections, coefficients = yolo.decode_end_to_end(output, self._thresholds)
        if not (np.isfinite(detections.boxes_xyxy).all() and (detections.confidences <= 1).all()):
            raise InvalidModel("The model's output has boxes that are not finite, or confidences above 1")
        if layout.kind in {"raw", "v5"}:
            kept = nms(
                detections,
                iou_threshold=self.options.iou_threshold,
                max_detections=self.options.max_detections,
                class_agnostic=self.options.class_agnostic,
            )
        else:
            kept = np.argsort(-detections.confidences, kind="stable")[: self.options.max_detections]
        coefficients = coefficients[kept]
        prototypes = None if layout.prototypes_index is None else outputs[layout.prototypes_index][0]
        if prototypes is not None and len(kept):
            yolo.ensure_finite(coefficients, "mask coefficients")
            yolo.ensure_finite(prototypes, "prototypes")
        return ModelBoxes(fit, detections[kept], coefficients, prototypes)


def class_ids_of(export: Export, label: str) -> list[int]:
    """Return the class ids of a requested label.

    Raises:
        InvalidPipeline: The model has no such label.
    """
    if ids := export.ids_of(label):
        return ids
    names = ", ".join(export.labels) or "class0, class1, …"
    raise InvalidPipeline(f"unknown label {label[:64]!r}; the model's labels: {names[:300]}")


def fit_to_canvas(export: Export, image_hw: SizeHW) -> Letterbox:
    """Return how an image of a size is scaled and padded onto the model's canvas."""
    if export.layout.kind in {"rtdetr", "rtdetr_raw"}:
        return stretch(image_hw, export.canvas_hw)
    if export.dynamic:
        return letterbox(image_hw, minimal_canvas(image_hw, export.canvas_hw, export.stride))
    return letterbox(image_hw, export.canvas_hw)


def min_decode_size(exports: Sequence[Export]) -> Callable[[SizeHW], SizeHW]:
    """Return a function of an image's size: the smallest decoded size that none of the models scales up."""

    def min_size(image_hw: SizeHW) -> SizeHW:
        sizes = [
            export.canvas_hw if export.layout.kind == "scores" else fit_to_canvas(export, image_hw).resized_hw
            for export in exports
        ]
        return max(height for height, _ in sizes), max(width for _, width in sizes)

    return min_size


def to_batch(fit: Letterbox, image: Pixels, export: Export, resampling: Resampling = "exact") -> FloatArray:
    """Convert (h, w, 3) uint8 to the model's input (B, 3, H, W) in 0 to 1.

    Of a model with a fixed batch size, only the first image is set.
    """
    shape = export.batch or 1, 3, *fit.canvas_hw
    batch = np.zeros(shape, np.float32) if shape[0] > 1 else np.empty(shape, np.float32)
    fit.render_into(image, batch[0], resampling)
    return batch.astype(export.dtype, copy=False)
