"""SAHIDetectorProcessor: detects small objects in large images: a detector on tiles, its boxes merged."""

from __future__ import annotations

from dataclasses import replace

from shared.processors.box_processor import BoxOptions
from shared.processors.detector_processor import DetectorProcessor
from shared.processors.sliced_processor import SLICE_WORKER, SlicedProcessor, SliceOptions
from shared.runtime.event_record import stage
from shared.vision.arrays import Pixels
from shared.vision.boxes.detections import Detections
from shared.vision.boxes.pairs import ensure_box_count_allowed
from shared.vision.images.letterbox import Resampling


class SAHIDetectorProcessor(SlicedProcessor[DetectorProcessor]):
    """Runs a DetectorProcessor on tiles."""

    def __init__(
        self,
        *,
        tenant_id: str,
        worker_id: int = SLICE_WORKER,
        options: BoxOptions | None = None,
        slices: SliceOptions | None = None,
        resampling: Resampling = "exact",
    ) -> None:
        """Load and pin the tenant's detector.

        `options.class_agnostic` applies where tiles are merged. Within a tile, classes are kept apart.

        Raises:
            InvalidPipeline: The model has no such label.
            ModelNotFound, InvalidModel, StorageUnavailable, DeadlineExceeded: The model cannot be loaded.
        """
        options = options or BoxOptions()
        detector = DetectorProcessor(
            tenant_id=tenant_id,
            worker_id=worker_id,
            options=replace(options, class_agnostic=False),
            resampling=resampling,
        )
        super().__init__(detector, slices=slices, class_agnostic=options.class_agnostic)

    def process(self, image: Pixels) -> Detections:
        """Detect in (h, w, 3) uint8 RGB; return boxes in px of that image, highest confidence first.

        Raises:
            InvalidModel: The model fails on a tile.
            ImageTooLarge: There are too many tiles or boxes, or an event has not the time for them.
            DeadlineExceeded: This event has not the time for them.
        """
        box_counts: list[int] = []  # of each tile so far; appended by several threads

        def detect(tile: Pixels) -> Detections:
            detections = self._processor.process(tile)
            box_counts.append(len(detections))
            ensure_box_count_allowed(sum(box_counts))
            return detections

        parts = self._process_tiles(image, detect)
        with stage("merge"):
            return self._merge(
                Detections.concatenated([part.shifted(left, top) for part, (left, top) in parts])
            ).detections
