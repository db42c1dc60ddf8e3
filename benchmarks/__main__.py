"""Run all benchmarks with `python -m benchmarks`, or some by name with `python -m benchmarks imports memory`.

The exit code is 1 if an invariant does not hold, for example the number of downloads. Slow figures do not change
it. The tables are saved in build/benchmarks. `python -m benchmarks.performance_page` writes them into
docs/performance.md.
"""

from __future__ import annotations

import importlib
import sys
from time import perf_counter
from typing import Final

from benchmarks.hardware import describe_hardware
from benchmarks.performance_page import save_table
from benchmarks.table import Table

BENCHMARKS: Final = (
    "detect",
    "resampling",
    "segment",
    "drawing",
    "sliced",
    "alternating",
    "predict",
    "steady",
    "imports",
    "cold_start",
    "warm_event",
    "one_download",
    "memory",
)
LONG_BENCHMARKS: Final = ("soak",)  # takes minutes, so it runs only by name


def main(names: list[str]) -> int:
    if unknown := set(names) - {*BENCHMARKS, *LONG_BENCHMARKS}:
        print(
            f"benchmarks: unknown name {', '.join(sorted(unknown))}: choose from "
            f"{', '.join((*BENCHMARKS, *LONG_BENCHMARKS))}",
            file=sys.stderr,
        )
        return 2
    hardware = describe_hardware()
    print(hardware, flush=True)
    invariants_hold = True
    for name in names or BENCHMARKS:
        began = perf_counter()
        table: Table = importlib.import_module(f"benchmarks.{name}").run()
        save_table(name, table, hardware)
        invariants_hold &= table.invariants_hold
        print(f"\n{table}\n  ({name}: {perf_counter() - began:.0f} s)", flush=True)
    return 0 if invariants_hold else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
