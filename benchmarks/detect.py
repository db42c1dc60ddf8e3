"""Compare detection with bare runs of its model, from pixels and from the bytes of a JPEG file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from benchmarks.network import OBJECTS, detect_model
from benchmarks.paired_timing import Row, measure_rows, timing_table
from benchmarks.photos import HD, MAX_PIXELS, TWELVE_MP, image_hw, photo, pixels, size_name
from benchmarks.table import Table
from benchmarks.tenants import bare_run, serving
from shared.processors.box_processor import min_decode_size
from shared.processors.detector_processor import DetectorProcessor
from shared.runtime.event_record import stage
from shared.vision.images import codec
from shared.vision.images.letterbox import Resampling

ROUNDS: Final = 40
LIMITS: Final[dict[tuple[tuple[int, int], Resampling], float]] = {
    (HD, "exact"): 1.22,
    (HD, "fast"): 1.17,
    (TWELVE_MP, "exact"): 2.0,
    (TWELVE_MP, "fast"): 1.7,
}
PIXELS_LIMIT: Final = 1.05


def run(rounds: int = ROUNDS) -> Table:
    tenants = {size_wh: f"detect-{size_wh[0]}" for size_wh, _ in LIMITS}
    models = {size_wh: detect_model(image_hw=image_hw(size_wh))[0] for size_wh in tenants}
    with serving({(tenants[size_wh], "detect"): model for size_wh, model in models.items()}):
        rows = [
            Row("pixels in, 720p", from_pixels(tenants[HD], HD), bare_run(tenants[HD], "detect"), PIXELS_LIMIT)
        ]
        rows += [
            Row(
                f"JPEG bytes in, {size_name(size_wh)}, {resampling}",
                from_jpeg(tenants[size_wh], size_wh, resampling),
                bare_run(tenants[size_wh], "detect"),
                limit,
            )
            for (size_wh, resampling), limit in LIMITS.items()
        ]
        return timing_table(f"Detection, {OBJECTS} objects, over a bare run", rows, measure_rows(rows, rounds))


def from_pixels(tenant_id: str, size_wh: tuple[int, int]) -> Callable[[], object]:
    image, processor = pixels(size_wh), DetectorProcessor(tenant_id=tenant_id)
    return lambda: processor.process(image)


def from_jpeg(tenant_id: str, size_wh: tuple[int, int], resampling: Resampling) -> Callable[[], object]:
    data, processor = photo(size_wh), DetectorProcessor(tenant_id=tenant_id, resampling=resampling)
    min_size_hw = min_decode_size([processor.model.export]) if resampling == "fast" else None

    def work() -> object:
        with stage("decode"):
            image, original_hw = codec.decode_downscaled(data, max_pixels=MAX_PIXELS, min_size_hw=min_size_hw)
        return processor.process(image, original_hw)

    return work


if __name__ == "__main__":
    print(run())
