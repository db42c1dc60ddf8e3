"""What `import main` costs, against importing only what it is made of. Fresh interpreters, turn by turn."""

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
        _imported(statement)  # compiles what is not, and reads it all once
    ours, parts = [], []
    for turn in range(rounds):
        if turn % 2:  # whoever comes second finds more of the disk in memory
            ours.append(_imported(OURS))
        parts.append(_imported(PARTS))
        if not turn % 2:
            ours.append(_imported(OURS))
    wall, cpu, pubsub = zip(*ours, strict=True)
    parts_wall, parts_cpu, _ = zip(*parts, strict=True)
    return Table(
        "Imports: main.py, against functions-framework, google-cloud-storage, onnxruntime and Pillow alone",
        [
            Figure("import main / its parts, median of the turns", _ratio(wall, parts_wall), limit=LIMIT),
            Figure("import main / its parts, minimums", min(wall) / min(parts_wall), limit=LIMIT),
            Figure("import main / its parts, CPU time", _ratio(cpu, parts_cpu), limit=LIMIT),
            Figure(
                "Pub/Sub's client imported before anything is published", sum(pubsub), "times", 0, certain=True
            ),
            Figure("import main", median(wall), "ms"),
            Figure("its parts", median(parts_wall), "ms"),
        ],
    )


def _ratio(ours: Sequence[float], parts: Sequence[float]) -> float:
    """The median of the turns' ratios: what slows the machine down for a while slows both down."""
    return median(mine / theirs for mine, theirs in zip(ours, parts, strict=True))


def _imported(statement: str) -> tuple[float, float, float]:
    """Milliseconds, those of CPU time, and 1 if Pub/Sub's client came along."""
    done = subprocess.run(
        [sys.executable, "-c", _TIMED.format(statement=statement)],
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
