"""Compare `python -m local predict` on one 720p image in a new process with a bare script.

Wall time, CPU time and peak memory are measured, alternately. `predict` writes the picture and the result as well.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.environment import environment
from benchmarks.network import detect_model
from benchmarks.photos import HD, image_hw, photo
from benchmarks.table import Figure, Table

ROOT: Final = Path(__file__).resolve().parent.parent
ROUNDS: Final = 10
LIMIT: Final = 1.5
TENANT: Final = "tenant-001"
_MB: Final = 1e6


def run(rounds: int = ROUNDS) -> Table:
    with tempfile.TemporaryDirectory(prefix="tenant-vision-") as folder:
        model, image = Path(folder, TENANT, "detect.onnx"), Path(folder, "photo.jpg")
        model.parent.mkdir()
        model.write_bytes(detect_model(image_hw=image_hw(HD))[0])
        image.write_bytes(photo(HD))
        out = str(Path(folder, "out"))
        predict = ["-m", "local", "predict", str(image), "--models", folder, "--tenant", TENANT, "--out", out]
        script = [str(ROOT / "benchmarks" / "bare_script.py"), str(model), str(image)]
        ours, bare = [], []
        for index in range(-1, rounds):  # the first round compiles modules and fills the page cache
            measurements = measure_process(predict), measure_process(script)
            if index >= 0:
                ours.append(measurements[0])
                bare.append(measurements[1])
    figures = [
        Figure("wall: medians", _median(ours, "wall_s") / _median(bare, "wall_s"), limit=LIMIT),
        Figure("wall: minimums", _minimum(ours, "wall_s") / _minimum(bare, "wall_s"), limit=LIMIT),
        Figure("CPU time: minimums", _minimum(ours, "cpu_s") / _minimum(bare, "cpu_s")),
        Figure("peak memory: medians", _median(ours, "peak_bytes") / _median(bare, "peak_bytes"), limit=LIMIT),
    ]
    rows = [
        (
            name,
            f"{_median(each, 'wall_s') * 1000:.0f} ms",
            f"{_median(each, 'cpu_s') * 1000:.0f} ms",
            f"{_median(each, 'peak_bytes') / _MB:.0f} MB",
        )
        for name, each in (("predict", ours), ("bare script", bare))
    ]
    return Table(
        "A fresh process, one 720p image: predict over a bare script of numpy, Pillow and onnxruntime",
        figures,
        [("median", "wall", "CPU", "peak memory"), *rows],
    )


def measure_process(command: Sequence[str], python: str = sys.executable) -> dict[str, float]:
    """Return the times and the peak memory of a Python process with these arguments."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "peak.py"), python, *command],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    measurements: dict[str, float] = json.loads(done.stdout)
    return measurements


def _median(measurements: Sequence[dict[str, float]], key: str) -> float:
    return median(each[key] for each in measurements)


def _minimum(measurements: Sequence[dict[str, float]], key: str) -> float:
    return min(each[key] for each in measurements)


if __name__ == "__main__":
    print(run())
