"""Measure mAP and CPU time of both resampling methods, on scenes with a known ground truth.

The sample models run in the deployed processor, on JPEG files of scenes at three sizes. They were trained without
antialiasing, as `exact` resamples. `python -m benchmarks.resampling 4` draws four times as many scenes.
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
from shared.ml.model_cache import ModelCache
from shared.processors.box_processor import BoxOptions, fit_to_canvas, min_decode_size, to_batch
from shared.processors.detector_processor import DetectorProcessor
from shared.vision.images import codec
from shared.vision.images.letterbox import Resampling
from testing.memory_store import MemoryStore
from testing.metrics import ClassMatches, box_ious, mean_average_precision

MODELS: Final = Path(__file__).parents[1] / "samples" / "models"
CANVAS_PX: Final = 640
RESAMPLINGS: Final[tuple[Resampling, ...]] = ("exact", "fast")
SCENES_BY_SIZE_WH: Final = {(640, 480): 2, (1920, 1440): 2, (4000, 3000): 1}  # scenes of each tenant
PLANTS: Final = {"usual": None, "small": 10}  # px on the canvas; None: 16 to 44
_FIRST_SEED: Final = 500_000  # far below the seeds of the training set
_REPETITIONS: Final = 3


@dataclass(slots=True)
class Evaluation:
    """The matches by tenant and class, and the CPU ms before inference, of one resampling on one kind of scene."""

    matches: dict[str, list[ClassMatches]] = field(
        default_factory=lambda: {name: [ClassMatches() for _ in tenant.labels] for name, tenant in TENANTS.items()}
    )
    preparation_ms: list[float] = field(default_factory=list)

    @property
    def means(self) -> tuple[float, float]:
        """The mAP50 and mAP50-95, averaged over tenants."""
        of_tenants = np.array([mean_average_precision(matches) for matches in self.matches.values()])
        map50, map50_95 = of_tenants.mean(axis=0).tolist()
        return map50, map50_95


def run(scene_factor: int = 1) -> Table:
    store = MemoryStore()
    for tenant_id in TENANTS:
        store.put(f"models/{tenant_id}/detect.onnx", (MODELS / tenant_id / "detect.onnx").read_bytes())
    ModelCache.configure(store, bucket="benchmark", refresh_s=86_400.0)
    try:
        evaluations = {
            (size_wh, plants): evaluate(size_wh, plants, scene_factor * count)
            for size_wh, count in SCENES_BY_SIZE_WH.items()
            for plants in PLANTS
        }
    finally:
        ModelCache.clear_cache()
    return table(evaluations)


def evaluate(size_wh: tuple[int, int], plants: str, count: int) -> dict[Resampling, Evaluation]:
    evaluations: dict[Resampling, Evaluation] = {resampling: Evaluation() for resampling in RESAMPLINGS}
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
            for resampling, evaluation in evaluations.items():
                evaluate_scene(evaluation, resampling, tenant_id, scene, photo)
    return evaluations


def evaluate_scene(
    evaluation: Evaluation, resampling: Resampling, tenant_id: str, scene: Scene, photo: bytes
) -> None:
    options = BoxOptions(confidence_threshold=0.001, max_detections=3000)
    processor = DetectorProcessor(tenant_id=tenant_id, options=options, resampling=resampling)
    export = processor.model.export
    min_size_hw = min_decode_size([export]) if resampling == "fast" else None
    cpu_ms = []
    for _ in range(_REPETITIONS):
        began = thread_time()  # CPU time of this thread: other processes do not count
        pixels, image_hw = codec.decode_downscaled(photo, max_pixels=10**8, min_size_hw=min_size_hw)
        to_batch(fit_to_canvas(export, image_hw), pixels, export, resampling)
        cpu_ms.append((thread_time() - began) * 1000)
    detections = processor.process(pixels, image_hw)
    evaluation.preparation_ms.append(min(cpu_ms))
    for class_id, matches in enumerate(evaluation.matches[tenant_id]):
        detected, actual = detections.class_ids == class_id, scene.class_ids == class_id
        matches.add(
            box_ious(detections.boxes_xyxy[detected], scene.boxes_xyxy[actual]), detections.confidences[detected]
        )


def table(evaluations: dict[tuple[tuple[int, int], str], dict[Resampling, Evaluation]]) -> Table:
    largest = [each for (size_wh, _), each in evaluations.items() if size_wh == max(SCENES_BY_SIZE_WH)]
    cpu_ms = {
        resampling: median([ms for each in largest for ms in each[resampling].preparation_ms])
        for resampling in RESAMPLINGS
    }
    return Table(
        "Two ways to read a JPEG: exact / fast, the sample models, the mean of three tenants",
        [Figure("decode and preprocess a sharp 4000x3000, fast / exact", cpu_ms["fast"] / cpu_ms["exact"])],
        [("scenes", "objects", "shrunk by", "mAP50", "mAP50-95", "CPU ms"), *map(_row, evaluations.items())],
    )


def _row(item: tuple[tuple[tuple[int, int], str], dict[Resampling, Evaluation]]) -> Sequence[str]:
    (size_wh, plants), evaluations = item
    objects = sum(each.truths for classes in evaluations["exact"].matches.values() for each in classes)
    means = [evaluations[resampling].means for resampling in RESAMPLINGS]
    cpu_ms = [median(evaluations[resampling].preparation_ms) for resampling in RESAMPLINGS]
    return (
        f"{len(evaluations['exact'].preparation_ms)} of {size_wh[0]}x{size_wh[1]}, {plants} plants",
        str(objects),
        f"{max(size_wh) / CANVAS_PX:g}",
        " / ".join(f"{map50:.3f}" for map50, _ in means),
        " / ".join(f"{map50_95:.3f}" for _, map50_95 in means),
        " / ".join(f"{each:.1f}" for each in cpu_ms),
    )


if __name__ == "__main__":
    print(run(int(sys.argv[1]) if len(sys.argv) > 1 else 1))
