"""BoxProcessor: what detectors and segmenters share, from an image to the boxes of one run on the canvas."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

import numpy as np

from shared.config import Config
from shared.errors import InvalidModel, InvalidPipeline
from shared.ml.export import Export
from shared.processors.base_processor import BaseProcessor
from shared.runtime.event_record import stage
from shared.vision.arrays import Float32Array, FloatArray, Pixels, SizeHW
from shared.vision.boxes import yolo
from shared.vision.boxes.detections import Detections
from shared.vision.boxes.nms import nms
from shared.vision.images.letterbox import Letterbox, Resampling, letterbox, minimal_canvas, stretch

_USUAL_CONFIDENCE: Final = 0.25
_USUAL_IOU: Final = 0.7


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxOptions:
    """Which boxes are wanted.

    Confidences must be above `confidence_threshold`, or above what `confidence_thresholds` says of their label;
    boxes of a class (of any class if `class_agnostic`) that overlap by more than `iou_threshold` are one
    object. `labels` None: all. All thresholds 0 to 1.
    """

    confidence_threshold: float = _USUAL_CONFIDENCE
    confidence_thresholds: Mapping[str, float] = field(
        default_factory=dict, metadata={"option": "confidence_threshold_by_label"}
    )
    labels: tuple[str, ...] | None = None
    iou_threshold: float = _USUAL_IOU
    class_agnostic: bool = False
    max_detections: int = 300

    @classmethod
    def from_json(cls, options: Mapping[str, Any], config: Config) -> Self:
        """From options that the schema of pipelines has accepted; what they leave open, `config` says."""
        threshold = options.get("confidence_threshold", config.confidence_threshold)
        each = dict(sorted(threshold.items())) if isinstance(threshold, Mapping) else {}
        labels = options.get("labels")
        return cls(
            confidence_threshold=config.confidence_threshold if each else float(threshold),
            confidence_thresholds={label: float(value) for label, value in each.items()},
            labels=None if labels is None else tuple(sorted(labels)),
            iou_threshold=float(options.get("iou_threshold", config.iou_threshold)),
            class_agnostic=options.get("class_agnostic", False),
            max_detections=int(options.get("max_detections", config.max_detections)),  # 7.0 is an integer in JSON
        )

    def thresholds(self, export: Export) -> Float32Array:
        """The threshold of each class (`export.classes`,) float32; infinite for those that are not wanted.

        Raises:
            InvalidPipeline: a label that the model does not have.
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
    """One run's answer: `detections` in canvas px, `coefficients` (n, masks), `prototypes` (masks, h, w)."""

    letterbox: Letterbox
    detections: Detections
    coefficients: Float32Array
    prototypes: FloatArray | None


class BoxProcessor(BaseProcessor):
    """Stateless but for the model it pins and the options it was made with."""

    def __init__(
        self,
        *,
        tenant_id: str,
        worker_id: int = 0,
        options: BoxOptions | None = None,
        resampling: Resampling = "exact",
    ) -> None:
        """Raises: as `ModelCache.get_model`; InvalidPipeline: options that do not fit the model's labels."""
        super().__init__(tenant_id=tenant_id, worker_id=worker_id)
        self.options = options or BoxOptions()
        self._resampling: Resampling = resampling
        self._thresholds = self.options.thresholds(self.model.export)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was asked for and this file cannot honour."""
        layout, options = self.model.export.layout, self.options
        if layout.kind not in {"end_to_end", "rtdetr", "rtdetr_raw"}:
            return ()
        lowest = min(options.confidence_threshold, *options.confidence_thresholds.values(), 1.0)
        said = []
        if layout.has_nms and lowest < _USUAL_CONFIDENCE:
            said.append(
                f"confidence_threshold {lowest:g}: {self.model_type}.onnx has NMS built in, which drops boxes "
                f"below a threshold of its own that it does not record"
            )
        if options.iou_threshold != _USUAL_IOU or options.class_agnostic:
            said.append(
                f"iou_threshold {options.iou_threshold:g}, class_agnostic {str(options.class_agnostic).lower()}: "
                f"no effect, {self.model_type}.onnx suppresses overlapping boxes itself"
            )
        return tuple(said)

    def min_runtime(self, image_hw: SizeHW) -> tuple[int, float]:
        """How many runs of the model an image of that size takes, and the least seconds they take together."""
        return 1, self.model.min_runtime_s(fit_to_canvas(self.model.export, image_hw).canvas_hw)

    def boxes(self, image: Pixels, image_hw: SizeHW | None = None) -> ModelBoxes:
        """Run (h, w, 3) uint8 RGB through the model.

        `image_hw`: the image's true size, in whose px the answer is, where it was decoded at a reduced scale.

        Raises:
            InvalidModel: the model fails on this input, or answers with what are no boxes.
        """
        export = self.model.export
        with stage("preprocess"):
            place = fit_to_canvas(export, image_hw or image.shape[:2])
            batch = to_batch(place, image, export, self._resampling)
        with stage("infer"):
            outputs = self.model.run(batch)
        with stage("postprocess"):
            return self._decode(place, outputs)

    def _decode(self, place: Letterbox, outputs: list[FloatArray]) -> ModelBoxes:
        layout = self.model.export.layout
        output = outputs[layout.output_index][0]
        match layout.kind:
            case "raw":
                found, coefficients = yolo.decode_raw(output, self._thresholds)
            case "v5":
                found, coefficients = yolo.decode_v5(output, self._thresholds)
            case "rtdetr":
                found, coefficients = yolo.decode_rtdetr(output, self._thresholds, place.canvas_hw)
            case "rtdetr_raw":
                found, coefficients = yolo.decode_rtdetr_raw(output, self._thresholds, place.canvas_hw)
            case _:
                found, coefficients = yolo.decode_end_to_end(output, self._thresholds)
        if not (np.isfinite(found.boxes_xyxy).all() and (found.confidences <= 1).all()):
            raise InvalidModel("The model found boxes that are not numbers, or confidences above 1")
        if layout.kind in {"raw", "v5"}:
            kept = nms(
                found,
                iou_threshold=self.options.iou_threshold,
                max_detections=self.options.max_detections,
                class_agnostic=self.options.class_agnostic,
            )
        else:
            kept = np.argsort(-found.confidences, kind="stable")[: self.options.max_detections]
        prototypes = None if layout.prototypes_index is None else outputs[layout.prototypes_index][0]
        return ModelBoxes(place, found[kept], coefficients[kept], prototypes)


def class_ids_of(export: Export, label: str) -> list[int]:
    """The classes of a label that somebody asked for.

    Raises:
        InvalidPipeline: the model has none of that label.
    """
    if ids := export.ids_of(label):
        return ids
    names = ", ".join(export.labels) or "class0, class1, …"
    raise InvalidPipeline(f"The model has no label {label[:64]!r}; it has: {names[:300]}")


def fit_to_canvas(export: Export, image_hw: SizeHW) -> Letterbox:
    """Where an image of that size lies in the model's canvas."""
    if export.layout.kind in {"rtdetr", "rtdetr_raw"}:
        return stretch(image_hw, export.canvas_hw)
    if export.dynamic:
        return letterbox(image_hw, minimal_canvas(image_hw, export.canvas_hw, export.stride))
    return letterbox(image_hw, export.canvas_hw)


def min_decode_size(exports: Sequence[Export]) -> Callable[[SizeHW], SizeHW]:
    """For the size of an image the smallest one at which these models lose nothing: nobody enlarges it again."""

    def least(image_hw: SizeHW) -> SizeHW:
        sizes = [
            export.canvas_hw if export.layout.kind == "scores" else fit_to_canvas(export, image_hw).resized_hw
            for export in exports
        ]
        return max(height for height, _ in sizes), max(width for _, width in sizes)

    return least


def to_batch(place: Letterbox, image: Pixels, export: Export, resampling: Resampling = "exact") -> FloatArray:
    """(h, w, 3) uint8 to (B, 3, H, W) in 0 to 1; of a model with a fixed batch the rest stays empty."""
    shape = export.batch or 1, 3, *place.canvas_hw
    batch = np.zeros(shape, np.float32) if shape[0] > 1 else np.empty(shape, np.float32)
    place.render_into(image, batch[0], resampling)
    return batch.astype(export.dtype, copy=False)
