"""Sliced detection and segmentation of 12 megapixels over as many bare runs as it takes, on all threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from benchmarks.network import detect_model, segment_model
from benchmarks.photos import TWELVE_MP, image_hw, pixels
from benchmarks.table import Table
from benchmarks.tenants import bare_run, serving
from benchmarks.turns import Row, in_turn, table
from shared.processors.sahi_detector_processor import SAHIDetectorProcessor
from shared.processors.sahi_segmentation_processor import SAHISegmentationProcessor
from shared.processors.sliced_processor import SliceOptions

TENANT: Final = "sliced"
ROUNDS: Final = 5
OBJECTS: Final = 10  # a tile
SLICES: Final = SliceOptions(slice_hw=(512, 512))
LIMIT: Final = 0.95
SEGMENTS_LIMIT: Final = 1.05


def run(rounds: int = ROUNDS) -> Table:
    models = {
        (TENANT, "detect"): detect_model(objects=OBJECTS)[0],
        (TENANT, "segment"): segment_model(objects=OBJECTS)[0],
    }
    image = pixels(TWELVE_MP)
    with serving(models):
        detector = SAHIDetectorProcessor(tenant_id=TENANT, slices=SLICES)
        segmenter = SAHISegmentationProcessor(tenant_id=TENANT, slices=SLICES)
        passes = len(detector.areas(image_hw(TWELVE_MP)))
        rows = [
            Row("boxes", lambda: detector.process(image), times(passes, bare_run(TENANT, "detect")), LIMIT),
            Row(
                "segments",
                lambda: segmenter.process(image),
                times(passes, bare_run(TENANT, "segment")),
                SEGMENTS_LIMIT,
            ),
        ]
        title = f"Sliced at 512, 4000x3000, {OBJECTS} objects a tile, over {passes} bare runs"
        return table(title, rows, in_turn(rows, rounds, warm_up=1))


def times(count: int, bare: Callable[[], object]) -> Callable[[], object]:
    def work() -> None:
        for _ in range(count):
            bare()

    return work


if __name__ == "__main__":
    print(run())
