"""What each way to read an image costs and gains: mAP and CPU time, on scenes whose truth is known.

The sample models, by the processor that is deployed, on JPEG files of one kind of scene at three sizes. They were
trained without antialiasing, as `exact` reads. `python -m benchmarks.resampling 4` draws four times as many.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import thread_time
from typing import Final

import numpy as np

from benchmarks.table import Figure, Table
from samples.scenes import TENANTS, Scene, render
from samples.training.detections import ious
from samples.training.precision import Ledger, mean
from shared.ml.model_cache import ModelCache
from shared.processors.box_processor import BoxOptions, fit_to_canvas, min_decode_size, to_batch
from shared.processors.detector_processor import DetectorProcessor
from shared.vision.images import codec
from shared.vision.images.letterbox import Resampling
from testing.memory_store import MemoryStore

MODELS: Final = Path(__file__).parents[1] / "samples" / "models"
CANVAS_PX: Final = 640
RESAMPLINGS: Final[tuple[Resampling, ...]] = ("exact", "fast")
SIZES_WH: Final = {(640, 480): 2, (1920, 1440): 2, (4000, 3000): 1}  # and how many scenes a tenant
PLANTS: Final = {"usual": None, "small": 10}  # px on the canvas; None: 16 to 44
_FIRST_SEED: Final = 500_000  # training's are far above
_TIMES: Final = 3


@dataclass(slots=True)
class Tally:
    """Of one reading of one kind of scene: what was found, by tenant and class, and CPU ms before inference."""

    ledgers: dict[str, list[Ledger]] = field(
        default_factory=lambda: {name: [Ledger() for _ in tenant.labels] for name, tenant in TENANTS.items()}
    )
    reading_ms: list[float] = field(default_factory=list)

    @property
    def means(self) -> tuple[float, float]:
        """mAP50 and mAP50-95, of all tenants alike."""
        of_tenants = np.array([mean(ledgers) for ledgers in self.ledgers.values()])
        map50, map50_95 = of_tenants.mean(axis=0).tolist()
        return map50, map50_95


def run(times: int = 1) -> Table:
    store = MemoryStore()
    for tenant_id in TENANTS:
        store.put(f"models/{tenant_id}/detect.onnx", (MODELS / tenant_id / "detect.onnx").read_bytes())
    ModelCache.configure(store, bucket="benchmark", refresh_s=86_400.0)
    try:
        tallies = {
            (size_wh, plants): measured(size_wh, plants, times * count)
            for size_wh, count in SIZES_WH.items()
            for plants in PLANTS
        }
    finally:
        ModelCache.clear_cache()
    return table(tallies)


def measured(size_wh: tuple[int, int], plants: str, count: int) -> dict[Resampling, Tally]:
    tallies: dict[Resampling, Tally] = {resampling: Tally() for resampling in RESAMPLINGS}
    small = PLANTS[plants]
    for tenant_id in TENANTS:
        for index in range(count):
            scene = render(
                tenant_id,
                seed=_FIRST_SEED + index,
                size_wh=size_wh,
                plant_px=None if small is None else small * max(size_wh) / CANVAS_PX,
            )
            photo = codec.encode_jpeg(scene.image, quality=90)
            for resampling, tally in tallies.items():
                note(tally, resampling, tenant_id, scene, photo)
    return tallies


def note(tally: Tally, resampling: Resampling, tenant_id: str, scene: Scene, photo: bytes) -> None:
    options = BoxOptions(confidence_threshold=0.001, max_detections=3000)
    processor = DetectorProcessor(tenant_id=tenant_id, options=options, resampling=resampling)
    export = processor.model.export
    least = min_decode_size([export]) if resampling == "fast" else None
    spent_ms = []
    for _ in range(_TIMES):
        began = thread_time()  # one thread's work: others on the machine do not count
        pixels, image_hw = codec.decode_downscaled(photo, max_pixels=10**8, min_size_hw=least)
        to_batch(fit_to_canvas(export, image_hw), pixels, export, resampling)
        spent_ms.append((thread_time() - began) * 1000)
    found = processor.process(pixels, image_hw)
    tally.reading_ms.append(min(spent_ms))
    for class_id, ledger in enumerate(tally.ledgers[tenant_id]):
        mine, true = found.class_ids == class_id, scene.class_ids == class_id
        ledger.add(ious(found.boxes_xyxy[mine], scene.boxes_xyxy[true]), found.confidences[mine])


def table(tallies: dict[tuple[tuple[int, int], str], dict[Resampling, Tally]]) -> Table:
    largest = [each for (size_wh, _), each in tallies.items() if size_wh == max(SIZES_WH)]
    spent = {
        resampling: median([ms for each in largest for ms in each[resampling].reading_ms])
        for resampling in RESAMPLINGS
    }
    return Table(
        "Two ways to read a JPEG: exact / fast, the sample models, the mean of three tenants",
        [Figure("decode and preprocess a sharp 4000x3000, fast / exact", spent["fast"] / spent["exact"])],
        [("scenes", "objects", "shrunk by", "mAP50", "mAP50-95", "CPU ms"), *map(_row, tallies.items())],
    )


def _row(item: tuple[tuple[tuple[int, int], str], dict[Resampling, Tally]]) -> Sequence[str]:
    (size_wh, plants), tallies = item
    objects = sum(ledger.truths for each in tallies["exact"].ledgers.values() for ledger in each)
    means = [tallies[resampling].means for resampling in RESAMPLINGS]
    spent = [median(tallies[resampling].reading_ms) for resampling in RESAMPLINGS]
    return (
        f"{len(tallies['exact'].reading_ms)} of {size_wh[0]}x{size_wh[1]}, {plants} plants",
        str(objects),
        f"{max(size_wh) / CANVAS_PX:g}",
        " / ".join(f"{map50:.3f}" for map50, _ in means),
        " / ".join(f"{map50_95:.3f}" for _, map50_95 in means),
        " / ".join(f"{each:.1f}" for each in spent),
    )


if __name__ == "__main__":
    print(run(int(sys.argv[1]) if len(sys.argv) > 1 else 1))
