"""`python -m local predict` on one 720p image in a fresh process, over a bare script that does as much.

Ours writes the picture and the result too. Wall time and the most memory that was resident, turn by turn.
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
        for index in range(-1, rounds):  # once to compile what is not, and to read it all
            taken = peak(predict), peak(script)
            if index >= 0:
                ours.append(taken[0])
                bare.append(taken[1])
    figures = [
        Figure("wall: medians", _median(ours, "wall_s") / _median(bare, "wall_s"), limit=LIMIT),
        Figure("wall: minimums", _least(ours, "wall_s") / _least(bare, "wall_s"), limit=LIMIT),
        Figure("CPU time: minimums", _least(ours, "cpu_s") / _least(bare, "cpu_s")),
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


def peak(command: Sequence[str], python: str = sys.executable) -> dict[str, float]:
    """Seconds and bytes of a Python with these arguments."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "peak.py"), python, *command],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _median(taken: Sequence[dict[str, float]], what: str) -> float:
    return median(each[what] for each in taken)


def _least(taken: Sequence[dict[str, float]], what: str) -> float:
    return min(each[what] for each in taken)


if __name__ == "__main__":
    print(run())
