"""SAHISegmentationProcessor: segments of tiles, their masks placed in the image and those of one object united."""

from __future__ import annotations

from dataclasses import replace

from shared.ml.onnx_model import OnnxModel
from shared.processors.duration import ensure_enough_time
from shared.processors.segmentation_processor import SegmentationProcessor, SegmentOptions
from shared.processors.slices import SLICE_WORKER, SliceOptions, each_slice, min_runtime_s
from shared.runtime.event_record import stage
from shared.vision.arrays import Int64Array, Pixels, SizeHW
from shared.vision.boxes.detections import Detections
from shared.vision.boxes.merge import merge
from shared.vision.images.letterbox import Resampling
from shared.vision.masks.masks import ensure_mask_pixels_allowed
from shared.vision.masks.overlap import union
from shared.vision.masks.segments import Segments


class SAHISegmentationProcessor:
    """Masks are at the image's own resolution: those of two tiles have no canvas in common."""

    def __init__(
        self,
        *,
        tenant_id: str,
        worker_id: int = SLICE_WORKER,
        options: SegmentOptions | None = None,
        slices: SliceOptions | None = None,
        resampling: Resampling = "exact",
    ) -> None:
        """Raises: as `SegmentationProcessor`."""
        options = options or SegmentOptions()
        self._class_agnostic = options.class_agnostic  # as in `SAHIDetectorProcessor`
        options = replace(options, resolution="image", class_agnostic=False)
        self._segmenter = SegmentationProcessor(
            tenant_id=tenant_id, worker_id=worker_id, options=options, resampling=resampling
        )
        self._slices = slices or SliceOptions()

    @property
    def model(self) -> OnnxModel:
        return self._segmenter.model

    @property
    def warnings(self) -> tuple[str, ...]:
        return self._segmenter.warnings

    def areas(self, image_hw: SizeHW) -> Int64Array:
        """As `SAHIDetectorProcessor.areas`."""
        return self._slices.areas(image_hw, self.model.export.canvas_hw)

    def min_runtime(self, image_hw: SizeHW) -> tuple[int, float]:
        """As `BoxProcessor.duration`. Raises: as `areas`."""
        areas = self.areas(image_hw)
        return len(areas), min_runtime_s(areas, lambda area_hw: self._segmenter.min_runtime(area_hw)[1])

    def process(self, image: Pixels) -> Segments:
        """Segment (h, w, 3) uint8 RGB, strongest first.

        Raises: as `SAHIDetectorProcessor.process`.
        """
        image_hw = image.shape[:2]
        areas = self.areas(image_hw)
        ensure_enough_time(*self.min_runtime(image_hw))
        made: list[int] = []  # px of masks

        def segment(tile: Pixels) -> Segments:
            found = self._segmenter.process(tile)
            made.append(sum(mask.pixels.size for mask in found.masks))
            ensure_mask_pixels_allowed(sum(made))
            return found

        parts = each_slice(image, areas, segment)
        with stage("merge"):
            corners = [(left, top) for left, top, _, _ in areas.tolist()]
            found = Detections.concatenated(
                [part.detections.shifted(*corner) for part, corner in zip(parts, corners, strict=True)]
            )
            masks = [
                mask.shifted(*corner) for part, corner in zip(parts, corners, strict=True) for mask in part.masks
            ]
            options = self._slices
            merged = merge(
                found,
                kind=options.kind,
                metric=options.metric,
                threshold=options.threshold,
                class_agnostic=self._class_agnostic,
            )
            united = tuple(union([masks[index] for index in group.tolist()]) for group in merged.groups)
            return Segments(merged.detections, united)
