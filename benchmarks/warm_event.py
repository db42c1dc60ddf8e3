"""Compare what a warm event costs without its inference with one bare run of a model of YOLO11n's cost.

The event runs from the envelope's bytes to the written result, on a 1280x960 JPEG. The store is in memory, so no
network is measured. Events and bare runs alternate on the same session.

On a busy machine a run on several threads waits for the slowest of them, which makes the ratio too low. So it is
measured with one thread for each run too. That ratio times the number of CPUs is an upper bound for a
quiet machine.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter
from typing import Final

import numpy as np

from benchmarks.network import detect_model
from benchmarks.table import Figure, Table
from functions import envelope
from samples.scenes import render
from shared import events
from shared.config import Config
from shared.ml.model_cache import ModelCache
from shared.pipeline.runner import PipelineRunner
from shared.runtime.event_record import event_record
from shared.vision.images import codec
from testing.memory_store import MemoryStore

TENANT: Final = "tenant-001"
SIZE_WH: Final = (1280, 960)
ROUNDS: Final = 60
WARM_UP: Final = 5
LIMIT: Final = 0.8
STAGES: Final = ("lookup", "download", "decode", "preprocess", "infer", "postprocess", "draw", "write")
_BUCKET: Final = "benchmark"


@dataclass(slots=True)
class Timings:
    """The milliseconds of each event, of its stages, and of the bare run after it."""

    events: list[float] = field(default_factory=list)
    stages: list[dict[str, float]] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)

    @property
    def without_inference(self) -> list[float]:
        """The milliseconds of each event without its inference."""
        return [whole - stages["infer"] for whole, stages in zip(self.events, self.stages, strict=True)]


def run(rounds: int = ROUNDS) -> Table:
    model, gflop = detect_model()
    photo = scene()
    store = MemoryStore()
    store.put(f"models/{TENANT}/detect.onnx", model)
    try:
        timings, boxes = _measure(store, photo, rounds, threads=0)
        single, _ = _measure(store, photo, rounds // 2, threads=1)
    finally:
        ModelCache.clear_cache()
    return table(timings, single, f"{len(photo) / 1000:.0f} kB, {boxes} boxes, a network of {gflop:.1f} GFLOP")


def scene(size_wh: tuple[int, int] = SIZE_WH) -> bytes:
    """Return a JPEG file of a scene of the sample world."""
    return codec.encode_jpeg(render(TENANT, seed=1, size_wh=size_wh).image, quality=90)


def table(timings: Timings, single: Timings, description: str) -> Table:
    without_inference, bare = timings.without_inference, timings.bare
    rows = [
        (name, f"{median(each):.1f} ms", f"{min(each):.1f} ms", f"{median(each) / median(bare):.2f}")
        for name, each in _parts(timings)
    ]
    width, height = SIZE_WH
    return Table(
        f"Warm event: {width}x{height} JPEG of {description}, store in memory",
        [
            Figure(
                "everything but infer / bare run, medians", median(without_inference) / median(bare), limit=LIMIT
            ),
            Figure("everything but infer / bare run, minimums", min(without_inference) / min(bare), limit=LIMIT),
            Figure(
                "the same with one thread a run, medians", median(single.without_inference) / median(single.bare)
            ),
            Figure("whole event / bare run, medians", median(timings.events) / median(bare)),
        ],
        [("stage", "median", "minimum", "/ bare run"), *rows],
    )


def _parts(timings: Timings) -> Iterator[tuple[str, list[float]]]:
    for name in STAGES:
        yield name, [stages.get(name, 0.0) for stages in timings.stages]
    named = [sum(stages.get(name, 0.0) for name in STAGES) for stages in timings.stages]
    yield "between them", [whole - sum_ms for whole, sum_ms in zip(timings.events, named, strict=True)]
    yield "everything but infer", timings.without_inference
    yield "whole event", timings.events
    yield "bare run", timings.bare


def _measure(store: MemoryStore, photo: bytes, rounds: int, *, threads: int) -> tuple[Timings, int]:
    ModelCache.configure(store, bucket=_BUCKET, threads=threads, refresh_s=86_400.0)
    config = Config(gcs_bucket=_BUCKET, upload_bucket=_BUCKET, results_bucket=_BUCKET, error_topic="errors")
    pipeline = PipelineRunner(store, config)
    model = ModelCache.get_model(tenant_id=TENANT, model_type="detect")
    batch = np.random.default_rng(5).random((1, 3, *model.export.canvas_hw), np.float32)
    timings = Timings()
    for index in range(-WARM_UP, rounds):
        if index == 0:
            timings = Timings()
        name = f"uploads/{TENANT}/{threads}/{index}.jpg"
        headers, body = _envelope(name, store.put(name, photo))
        began = perf_counter()
        with event_record() as summary:
            outcome = pipeline.run(events.parse(envelope.parse(headers, body), config))
        timings.events.append((perf_counter() - began) * 1000)
        timings.stages.append(summary.timings_ms)
        began = perf_counter()
        model.run(batch)
        timings.bare.append((perf_counter() - began) * 1000)
    return timings, len(json.loads(outcome.document or b"")["detections"])


def _envelope(name: str, generation: int) -> tuple[dict[str, str], bytes]:
    """Return the headers and the body that Eventarc posts, as far as they are read."""
    headers = {"ce-type": envelope.STORAGE_FINALIZED, "ce-id": name, "content-type": "application/json"}
    return headers, json.dumps({"bucket": _BUCKET, "name": name, "generation": str(generation)}).encode()


if __name__ == "__main__":
    print(run())
