"""SAHIDetectorProcessor: small things in large images: a detector on tiles, its answers shifted and merged."""

from __future__ import annotations

from dataclasses import replace

from shared.ml.onnx_model import OnnxModel
from shared.processors.box_processor import BoxOptions
from shared.processors.detector_processor import DetectorProcessor
from shared.processors.duration import ensure_enough_time
from shared.processors.slices import SLICE_WORKER, SliceOptions, each_slice, min_runtime_s
from shared.runtime.event_record import stage
from shared.vision.arrays import Int64Array, Pixels, SizeHW
from shared.vision.boxes.detections import Detections
from shared.vision.boxes.merge import merge
from shared.vision.images.letterbox import Resampling


class SAHIDetectorProcessor:
    """A detector made of a detector, of one generation of the model for all tiles. Keeps nothing of an image."""

    def __init__(
        self,
        *,
        tenant_id: str,
        worker_id: int = SLICE_WORKER,
        options: BoxOptions | None = None,
        slices: SliceOptions | None = None,
        resampling: Resampling = "exact",
    ) -> None:
        """Raises: as `DetectorProcessor`."""
        options = options or BoxOptions()
        self._class_agnostic = options.class_agnostic  # where tiles are merged; in a tile, classes stay apart
        options = replace(options, class_agnostic=False)
        self._detector = DetectorProcessor(
            tenant_id=tenant_id, worker_id=worker_id, options=options, resampling=resampling
        )
        self._slices = slices or SliceOptions()

    @property
    def model(self) -> OnnxModel:
        return self._detector.model

    @property
    def warnings(self) -> tuple[str, ...]:
        return self._detector.warnings

    def areas(self, image_hw: SizeHW) -> Int64Array:
        """(n, 4) xyxy image px: where it would look.

        Raises:
            ImageTooLarge: in too many places.
        """
        return self._slices.areas(image_hw, self.model.export.canvas_hw)

    def min_runtime(self, image_hw: SizeHW) -> tuple[int, float]:
        """As `BoxProcessor.duration`. Raises: as `areas`."""
        areas = self.areas(image_hw)
        return len(areas), min_runtime_s(areas, lambda area_hw: self._detector.min_runtime(area_hw)[1])

    def process(self, image: Pixels) -> Detections:
        """Detect in (h, w, 3) uint8 RGB; boxes in px of that image, strongest first.

        Raises:
            InvalidModel: the model fails on a tile.
            ImageTooLarge: as `areas`, or an event has no time for as many runs.
            DeadlineExceeded: this event has not.
        """
        image_hw = image.shape[:2]
        areas = self.areas(image_hw)
        ensure_enough_time(*self.min_runtime(image_hw))
        parts = each_slice(image, areas, self._detector.process)
        with stage("merge"):
            shifted = [
                part.shifted(left, top) for part, (left, top, _, _) in zip(parts, areas.tolist(), strict=True)
            ]
            options = self._slices
            return merge(
                Detections.concatenated(shifted),
                kind=options.kind,
                metric=options.metric,
                threshold=options.threshold,
                class_agnostic=self._class_agnostic,
            ).detections
