"""Serve this project's side of the rows: `python -m benchmarks.peers.our_rows FOLDER`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from benchmarks.peers.rows import ROWS, RUNS_PER_TASK, TASKS
from benchmarks.peers.worker import serve
from benchmarks.photos import MAX_PIXELS
from local.folder_store import FolderStore
from shared.ml.model_cache import ModelCache
from shared.processing_context import ProcessingContext
from shared.processors.classifier_processor import ClassifierProcessor
from shared.processors.detector_processor import DetectorProcessor
from shared.processors.sahi_detector_processor import SAHIDetectorProcessor
from shared.processors.sahi_segmentation_processor import SAHISegmentationProcessor
from shared.processors.segmentation_processor import SegmentationProcessor, SegmentOptions
from shared.processors.sliced_processor import SliceOptions
from shared.results.picture import render
from shared.vision.arrays import Pixels
from shared.vision.images import codec
from shared.vision.masks.segments import Segments

Work = Callable[[], object]
SLICES: Final = SliceOptions(slice_hw=(512, 512))


class Ours:
    """Makes the work of each row; the subfolders are tenants, each with models and a photo.jpg."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        ModelCache.configure(FolderStore({"models/": folder}), bucket="local", refresh_s=86_400.0)

    @property
    def works(self) -> dict[str, Callable[[], Work]]:
        """The factory of each row's work, by the row's name."""
        each = (
            lambda: self.detect_pixels("hd"),
            lambda: self.detect_jpeg("hd"),
            lambda: self.detect_jpeg("twelve-mp"),
            lambda: self.segment_jpeg("hd"),
            lambda: self.segment_jpeg("twelve-mp"),
            lambda: self.segment_at_image("twelve-mp"),
            lambda: self.picture("full-hd"),
            lambda: self.sliced(SAHIDetectorProcessor(tenant_id="sliced", slices=SLICES)),
            lambda: self.sliced(SAHISegmentationProcessor(tenant_id="sliced", slices=SLICES)),
            lambda: self.three("hd", in_turn=False),
            lambda: self.three("hd", in_turn=True),
        )
        return {row.name: work for row, work in zip(ROWS, each, strict=True)}

    def detect_pixels(self, tenant_id: str) -> Work:
        processor, image = DetectorProcessor(tenant_id=tenant_id), self._pixels(tenant_id)
        return lambda: processor.process(image)

    def detect_jpeg(self, tenant_id: str) -> Work:
        processor, data = DetectorProcessor(tenant_id=tenant_id), self._photo(tenant_id)
        return lambda: processor.process(codec.decode(data, max_pixels=MAX_PIXELS))

    def segment_jpeg(self, tenant_id: str) -> Work:
        processor, data = SegmentationProcessor(tenant_id=tenant_id), self._photo(tenant_id)
        return lambda: processor.process(codec.decode(data, max_pixels=MAX_PIXELS)).polygons()

    def segment_at_image(self, tenant_id: str) -> Work:
        processor = SegmentationProcessor(tenant_id=tenant_id, options=SegmentOptions(resolution="image"))
        image = self._pixels(tenant_id)
        return lambda: processor.process(image).polygons()

    def picture(self, tenant_id: str) -> Work:
        processor, image = SegmentationProcessor(tenant_id=tenant_id), self._pixels(tenant_id)
        segmentation = processor.process(image)
        models = {"segment": processor.model}

        def work() -> object:
            # New segments each time, because they cache their outlines.
            segments = Segments(segmentation.detections, segmentation.masks, segmentation.canvas)
            return render(ProcessingContext(tenant_id=tenant_id, image=image, segments=segments, models=models))

        return work

    def sliced(self, processor: SAHIDetectorProcessor | SAHISegmentationProcessor) -> Work:
        image = self._pixels("sliced")
        return lambda: processor.process(image)

    def three(self, tenant_id: str, *, in_turn: bool) -> Work:
        kinds = (DetectorProcessor, SegmentationProcessor, ClassifierProcessor)
        processors, image = [kind(tenant_id=tenant_id) for kind in kinds], self._pixels(tenant_id)

        def work() -> None:
            for index in range(RUNS_PER_TASK * len(TASKS)):
                processors[index % len(TASKS) if in_turn else index // RUNS_PER_TASK].process(image)

        return work

    def _photo(self, tenant_id: str) -> bytes:
        return (self._folder / tenant_id / "photo.jpg").read_bytes()

    def _pixels(self, tenant_id: str) -> Pixels:
        return codec.decode(self._photo(tenant_id), max_pixels=MAX_PIXELS)


if __name__ == "__main__":
    serve(Ours(Path(sys.argv[1])).works)
