"""SAHISegmentationProcessor: segments small objects in large images: a segmenter on tiles, masks united."""

from __future__ import annotations

from dataclasses import replace

from shared.processors.segmentation_processor import SegmentationProcessor, SegmentOptions
from shared.processors.sliced_processor import SLICE_WORKER, SlicedProcessor, SliceOptions
from shared.runtime.event_record import stage
from shared.vision.arrays import Pixels
from shared.vision.boxes.detections import Detections
from shared.vision.boxes.pairs import ensure_box_count_allowed
from shared.vision.images.letterbox import Resampling
from shared.vision.masks.masks import ensure_mask_pixels_allowed
from shared.vision.masks.overlap import unions
from shared.vision.masks.segments import Segments


class SAHISegmentationProcessor(SlicedProcessor[SegmentationProcessor]):
    """Runs a SegmentationProcessor on tiles.

    Masks are at the image's resolution: two tiles have no canvas in common.
    """

    def __init__(
        self,
        *,
        tenant_id: str,
        worker_id: int = SLICE_WORKER,
        options: SegmentOptions | None = None,
        slices: SliceOptions | None = None,
        resampling: Resampling = "exact",
    ) -> None:
        """Load and pin the tenant's segmenter.

        `options.class_agnostic` applies where tiles are merged. Within a tile, classes are kept apart.

        Raises:
            InvalidPipeline: The model has no such label.
            ModelNotFound, InvalidModel, StorageUnavailable, DeadlineExceeded: The model cannot be loaded.
        """
        options = options or SegmentOptions()
        segmenter = SegmentationProcessor(
            tenant_id=tenant_id,
            worker_id=worker_id,
            options=replace(options, resolution="image", class_agnostic=False),
            resampling=resampling,
        )
        super().__init__(segmenter, slices=slices, class_agnostic=options.class_agnostic)

    def process(self, image: Pixels) -> Segments:
        """Segment (h, w, 3) uint8 RGB; return segments in px of that image, highest confidence first.

        Raises:
            InvalidModel: The model fails on a tile.
            ImageTooLarge: There are too many tiles, an event has not the time for them, or masks are too large.
            DeadlineExceeded: This event has not the time for them.
        """
        mask_pixels: list[int] = []  # of each tile so far; appended by several threads
        box_counts: list[int] = []

        def segment(tile: Pixels) -> Segments:
            segments = self._processor.process(tile)
            box_counts.append(len(segments))
            ensure_box_count_allowed(sum(box_counts))
            mask_pixels.append(sum(mask.pixels.size for mask in segments.masks))
            ensure_mask_pixels_allowed(sum(mask_pixels))
            return segments

        parts = self._process_tiles(image, segment)
        with stage("merge"):
            merged = self._merge(
                Detections.concatenated([part.detections.shifted(left, top) for part, (left, top) in parts])
            )
            masks = [mask.shifted(left, top) for part, (left, top) in parts for mask in part.masks]
            return Segments(merged.detections, unions(masks, merged.groups))
