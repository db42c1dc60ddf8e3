"""What `import main` costs, against importing only what it is made of. Fresh interpreters, turn by turn."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.table import Figure, Table

ROOT: Final = Path(__file__).resolve().parent.parent
ROUNDS: Final = 15
LIMIT: Final = 1.15
OURS: Final = "import main"
PARTS: Final = "import functions_framework, google.cloud.storage, onnxruntime, PIL.Image"
_TIMED: Final = """
import sys, time
began, began_cpu = time.perf_counter(), time.process_time()
{statement}
took, took_cpu = time.perf_counter() - began, time.process_time() - began_cpu
print(took * 1000, took_cpu * 1000, int("google.cloud.pubsub_v1" in sys.modules))
"""


def run(rounds: int = ROUNDS) -> Table:
    for statement in (OURS, PARTS):
        _imported(statement)  # writes what is compiled, and reads it all once
    turns = [(_imported(OURS), _imported(PARTS)) for _ in range(rounds)]
    ours, parts = (list(zip(*each, strict=True)) for each in zip(*turns, strict=True))
    return Table(
        "Imports: main.py, against functions-framework, google-cloud-storage, onnxruntime and Pillow alone",
        [
            Figure("import main / its parts, medians", median(ours[0]) / median(parts[0]), limit=LIMIT),
            Figure("import main / its parts, minimums", min(ours[0]) / min(parts[0]), limit=LIMIT),
            Figure(
                "import main / its parts, medians of CPU time", median(ours[1]) / median(parts[1]), limit=LIMIT
            ),
            Figure(
                "Pub/Sub's client imported before anything is published", sum(ours[2]), "times", 0, certain=True
            ),
            Figure("import main", median(ours[0]), "ms"),
            Figure("its parts", median(parts[0]), "ms"),
        ],
    )


def _imported(statement: str) -> tuple[float, float, float]:
    """Milliseconds, those of CPU time, and 1 if Pub/Sub's client came along."""
    settings = {"GCS_BUCKET": "benchmark", "ERROR_TOPIC": "errors"}
    done = subprocess.run(
        [sys.executable, "-c", _TIMED.format(statement=statement)],
        cwd=ROOT,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=True,
    )
    wall_ms, cpu_ms, has_pubsub = map(float, done.stdout.split())
    return wall_ms, cpu_ms, has_pubsub


if __name__ == "__main__":
    print(run())
