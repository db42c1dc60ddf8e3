"""Compare segmentation and its polygons with bare runs: from JPEG bytes, and at the image's own resolution."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

from benchmarks.network import segment_model
from benchmarks.paired_timing import Row, measure_rows, timing_table
from benchmarks.photos import HD, MAX_PIXELS, TWELVE_MP, image_hw, photo, pixels, size_name
from benchmarks.table import Table
from benchmarks.tenants import bare_run, serving
from shared.processors.segmentation_processor import SegmentationProcessor, SegmentOptions
from shared.runtime.event_record import stage
from shared.vision.images import codec

ROUNDS: Final = 30
OBJECTS: Final = {HD: 20, TWELVE_MP: 60}
LIMITS: Final = {HD: 1.25, TWELVE_MP: 2.0}
IMAGE_LIMIT: Final = 1.5


def run(rounds: int = ROUNDS) -> Table:
    tenants = {size_wh: f"segment-{size_wh[0]}" for size_wh in OBJECTS}
    models = {
        size_wh: segment_model(objects=objects, image_hw=image_hw(size_wh))[0]
        for size_wh, objects in OBJECTS.items()
    }
    with serving({(tenants[size_wh], "segment"): model for size_wh, model in models.items()}):
        rows = [
            Row(
                f"JPEG bytes in, {size_name(size_wh)}, {OBJECTS[size_wh]} objects",
                from_jpeg(tenant, size_wh),
                bare_run(tenant, "segment"),
                LIMITS[size_wh],
            )
            for size_wh, tenant in tenants.items()
        ]
        tenant, objects = tenants[TWELVE_MP], OBJECTS[TWELVE_MP]
        rows.append(
            Row(
                f"pixels in, 12 MP, {objects} objects at the image's own resolution",
                from_pixels(tenant, TWELVE_MP, "image"),
                bare_run(tenant, "segment"),
                IMAGE_LIMIT,
            )
        )
        return timing_table("Segmentation with polygons, over a bare run", rows, measure_rows(rows, rounds))


def from_jpeg(tenant_id: str, size_wh: tuple[int, int]) -> Callable[[], object]:
    data, processor = photo(size_wh), SegmentationProcessor(tenant_id=tenant_id)

    def work() -> object:
        with stage("decode"):
            image = codec.decode(data, max_pixels=MAX_PIXELS)
        segments = processor.process(image)
        with stage("polygons"):
            return segments.polygons()

    return work


def from_pixels(
    tenant_id: str, size_wh: tuple[int, int], resolution: Literal["canvas", "image"]
) -> Callable[[], object]:
    image = pixels(size_wh)
    processor = SegmentationProcessor(tenant_id=tenant_id, options=SegmentOptions(resolution=resolution))

    def work() -> object:
        segments = processor.process(image)
        with stage("polygons"):
            return segments.polygons()

    return work


if __name__ == "__main__":
    print(run())
