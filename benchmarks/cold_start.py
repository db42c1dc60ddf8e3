"""Time an upload through the local stack, with a cold function and with a warm one.

The time runs from the upload to the result in storage, through the notification, Pub/Sub, the bridge,
functions-framework and process_upload. The emulators' share of it says nothing about Google Cloud.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from benchmarks.environment import environment
from benchmarks.network import detect_model
from benchmarks.table import Figure, Table
from benchmarks.warm_event import TENANT, scene
from local.stack import Stack
from local.trigger import UPLOAD

COLD_ROUNDS: Final = 5
WARM_ROUNDS: Final = 15
TIMEOUT_S: Final = 60.0
STAGES: Final = (
    "lookup",
    "download",
    "decode",
    "model",
    "preprocess",
    "infer",
    "postprocess",
    "draw",
    "write",
    "total",
)


@dataclass(frozen=True, slots=True)
class Upload:
    """The milliseconds until the result was in storage, and those of the function's stages."""

    took_ms: float
    stages_ms: dict[str, float]


def run(cold_rounds: int = COLD_ROUNDS, warm_rounds: int = WARM_ROUNDS) -> Table:
    photo = scene()
    up, cold, first = [], [], []
    with Stack(targets=[UPLOAD], environment=environment()) as stack:
        bucket = stack.storage.bucket(stack.names.models_bucket)
        bucket.blob(f"models/{TENANT}/detect.onnx").upload_from_string(detect_model()[0])
        for index in range(cold_rounds):
            stack.kill_function(UPLOAD)
            began = time.perf_counter()
            stack.start_function(UPLOAD)
            up.append(_since_ms(began))
            cold.append(_uploaded(stack, f"cold-{index}.jpg", photo))
            first.append(up[-1] + cold[-1].took_ms)
        warm = [_uploaded(stack, f"warm-{index}.jpg", photo) for index in range(warm_rounds)]
    return Table(
        "Through the local stack: 1280x960 JPEG, a model of YOLO11n's cost",
        [
            Figure("cold: process start until it answers", median(up), "ms"),
            Figure("cold: process start to first result", median(first), "ms"),
            Figure("warm: upload to result", median(each.took_ms for each in warm), "ms"),
        ],
        [
            ("stage of the function", "cold", "warm"),
            *((name, _median(cold, name), _median(warm, name)) for name in STAGES),
        ],
    )


def _uploaded(stack: Stack, name: str, photo: bytes) -> Upload:
    names = stack.names
    began = time.perf_counter()
    stack.storage.bucket(names.upload_bucket).blob(f"uploads/{TENANT}/{name}").upload_from_string(photo)
    result = stack.storage.bucket(names.results_bucket).blob(f"results/{TENANT}/{name}/result.json")
    while not result.exists():
        if time.perf_counter() - began > TIMEOUT_S:
            raise TimeoutError(f"no result of {name}; the function's last lines:\n{stack.log_lines(UPLOAD)[-3:]}")
        time.sleep(0.002)
    took_ms = _since_ms(began)
    while not (lines := _summaries(stack, name)):  # written after the result
        time.sleep(0.002)
    return Upload(took_ms, lines[0]["timings_ms"])


def _summaries(stack: Stack, name: str) -> list[dict[str, Any]]:
    lines = stack.log_lines(UPLOAD)
    return [line for line in lines if line.get("verdict") == "done" and line["image"].endswith(f"/{name}")]


def _median(uploads: list[Upload], name: str) -> str:
    return f"{median(each.stages_ms.get(name, 0.0) for each in uploads):.1f} ms"


def _since_ms(began: float) -> float:
    return (time.perf_counter() - began) * 1000


if __name__ == "__main__":
    print(run())
