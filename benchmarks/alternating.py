"""Compare three models that run in turn with each running alone: idle sessions must not slow a busy one down."""

from __future__ import annotations

from statistics import median
from time import perf_counter
from typing import Final

from benchmarks.network import classify_model, detect_model, segment_model
from benchmarks.photos import HD, image_hw, pixels
from benchmarks.table import Figure, Table
from benchmarks.tenants import serving
from shared.ml.output_layout import ModelType
from shared.processors.classifier_processor import ClassifierProcessor
from shared.processors.detector_processor import DetectorProcessor
from shared.processors.segmentation_processor import SegmentationProcessor
from shared.vision.arrays import Pixels

Processor = DetectorProcessor | SegmentationProcessor | ClassifierProcessor

TENANT: Final = "alternating"
ROUNDS: Final = 8
CONSECUTIVE_RUNS: Final = 6  # the first of them warms up
LIMIT: Final = 1.1


def run(rounds: int = ROUNDS) -> Table:
    shape = image_hw(HD)
    models: dict[tuple[str, ModelType], bytes] = {
        (TENANT, "detect"): detect_model(image_hw=shape)[0],
        (TENANT, "segment"): segment_model(objects=20, image_hw=shape)[0],
        (TENANT, "classify"): classify_model()[0],
    }
    image = pixels(HD)
    with serving(models):
        processors: dict[str, Processor] = {
            "detect": DetectorProcessor(tenant_id=TENANT),
            "segment": SegmentationProcessor(tenant_id=TENANT),
            "classify": ClassifierProcessor(tenant_id=TENANT),
        }
        alone: dict[str, list[float]] = {name: [] for name in processors}
        in_turn: dict[str, list[float]] = {name: [] for name in processors}
        for _ in range(rounds):
            for name, processor in processors.items():
                alone[name] += [_process_ms(processor, image) for _ in range(CONSECUTIVE_RUNS)][1:]
            for index in range(CONSECUTIVE_RUNS):
                for name, processor in processors.items():
                    took = _process_ms(processor, image)
                    if index:
                        in_turn[name].append(took)
    figures = []
    for name in processors:
        figures += [
            Figure(f"{name}: medians", median(in_turn[name]) / median(alone[name]), limit=LIMIT),
            Figure(f"{name}: minimums", min(in_turn[name]) / min(alone[name]), limit=LIMIT),
        ]
    rows = [(name, f"{median(alone[name]):.1f} ms", f"{median(in_turn[name]):.1f} ms") for name in processors]
    return Table(
        "Detect, segment and classify in turn in one process, each over its running alone, 720p",
        figures,
        [("median", "alone", "in turn"), *rows],
    )


def _process_ms(processor: Processor, image: Pixels) -> float:
    began = perf_counter()
    processor.process(image)
    return (perf_counter() - began) * 1000


if __name__ == "__main__":
    print(run())
