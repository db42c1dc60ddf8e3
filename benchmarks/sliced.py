"""Compare sliced detection and segmentation of 12 megapixels with as many bare runs on all threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from benchmarks.network import detect_model, segment_model
from benchmarks.paired_timing import Row, measure_rows, timing_table
from benchmarks.photos import TWELVE_MP, image_hw, pixels
from benchmarks.table import Table
from benchmarks.tenants import bare_run, serving
from shared.ml.output_layout import ModelType
from shared.processors.sahi_detector_processor import SAHIDetectorProcessor
from shared.processors.sahi_segmentation_processor import SAHISegmentationProcessor
from shared.processors.sliced_processor import SliceOptions

TENANT: Final = "sliced"
ROUNDS: Final = 5
OBJECTS_PER_TILE: Final = 10
SLICES: Final = SliceOptions(slice_hw=(512, 512))
LIMIT: Final = 0.95
SEGMENTS_LIMIT: Final = 1.05


def run(rounds: int = ROUNDS) -> Table:
    models: dict[tuple[str, ModelType], bytes] = {
        (TENANT, "detect"): detect_model(objects=OBJECTS_PER_TILE)[0],
        (TENANT, "segment"): segment_model(objects=OBJECTS_PER_TILE)[0],
    }
    image = pixels(TWELVE_MP)
    with serving(models):
        detector = SAHIDetectorProcessor(tenant_id=TENANT, slices=SLICES)
        segmenter = SAHISegmentationProcessor(tenant_id=TENANT, slices=SLICES)
        passes = len(detector.areas(image_hw(TWELVE_MP)))
        rows = [
            Row("boxes", lambda: detector.process(image), repeat(passes, bare_run(TENANT, "detect")), LIMIT),
            Row(
                "segments",
                lambda: segmenter.process(image),
                repeat(passes, bare_run(TENANT, "segment")),
                SEGMENTS_LIMIT,
            ),
        ]
        title = f"Sliced at 512, 4000x3000, {OBJECTS_PER_TILE} objects a tile, over {passes} bare runs"
        return timing_table(title, rows, measure_rows(rows, rounds, warm_up=1))


def repeat(count: int, bare: Callable[[], object]) -> Callable[[], object]:
    def work() -> None:
        for _ in range(count):
            bare()

    return work


if __name__ == "__main__":
    print(run())
