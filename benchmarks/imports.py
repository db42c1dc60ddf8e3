"""Compare `import main` with importing its largest dependencies, in new interpreters that alternate."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.environment import environment
from benchmarks.table import Figure, Table

ROOT: Final = Path(__file__).resolve().parent.parent
ROUNDS: Final = 20
LIMIT: Final = 1.15
MAIN_STATEMENT: Final = "import main"
PARTS_STATEMENT: Final = "import functions_framework, google.cloud.storage, onnxruntime, PIL.Image"
_TIMING_SCRIPT: Final = """
import sys, time
began, began_cpu = time.perf_counter(), time.process_time()
{statement}
took, took_cpu = time.perf_counter() - began, time.process_time() - began_cpu
print(took * 1000, took_cpu * 1000, int("google.cloud.pubsub_v1" in sys.modules))
"""


def run(rounds: int = ROUNDS) -> Table:
    for statement in (MAIN_STATEMENT, PARTS_STATEMENT):
        _time_import(statement)  # compiles all modules, and reads them into the page cache
    ours, parts = [], []
    for index in range(rounds):
        if index % 2:  # the second import finds more files in the page cache
            ours.append(_time_import(MAIN_STATEMENT))
        parts.append(_time_import(PARTS_STATEMENT))
        if not index % 2:
            ours.append(_time_import(MAIN_STATEMENT))
    wall, cpu, pubsub = zip(*ours, strict=True)
    parts_wall, parts_cpu, _ = zip(*parts, strict=True)
    return Table(
        "Imports: main.py, against functions-framework, google-cloud-storage, onnxruntime and Pillow alone",
        [
            Figure("import main / its parts, median of the turns", _ratio(wall, parts_wall), limit=LIMIT),
            Figure("import main / its parts, minimums", min(wall) / min(parts_wall), limit=LIMIT),
            Figure("import main / its parts, CPU time", _ratio(cpu, parts_cpu), limit=LIMIT),
            Figure(
                "Pub/Sub's client imported before anything is published",
                sum(pubsub),
                "times",
                0,
                is_invariant=True,
            ),
            Figure("import main", median(wall), "ms"),
            Figure("its parts", median(parts_wall), "ms"),
        ],
    )


def _ratio(ours: Sequence[float], parts: Sequence[float]) -> float:
    """Return the median of the rounds' ratios: what slows the machine down for a while slows both sides down."""
    return median(numerator / denominator for numerator, denominator in zip(ours, parts, strict=True))


def _time_import(statement: str) -> tuple[float, float, float]:
    """Return the wall and CPU milliseconds, and 1 if the Pub/Sub client was imported too."""
    done = subprocess.run(
        [sys.executable, "-c", _TIMING_SCRIPT.format(statement=statement)],
        cwd=ROOT,
        env=environment(GCS_BUCKET="benchmark", ERROR_TOPIC="errors"),
        capture_output=True,
        text=True,
        check=True,
    )
    wall_ms, cpu_ms, has_pubsub = map(float, done.stdout.split())
    return wall_ms, cpu_ms, has_pubsub


if __name__ == "__main__":
    print(run())
