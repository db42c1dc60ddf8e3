"""All figures: `python -m benchmarks`, or some of them by name: `python -m benchmarks imports memory`.

Slow is no failure. It exits with 1 where something that speed has no part in is not so. What was measured is kept
in build/benchmarks, from where `python -m benchmarks.page` writes it into docs/performance.md.
"""

from __future__ import annotations

import importlib
import sys
from time import perf_counter
from typing import Final

from benchmarks.machine import machine
from benchmarks.page import keep
from benchmarks.table import Table

NAMES: Final = (
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
LONG: Final = ("soak",)  # minutes: by name only


def main(names: list[str]) -> int:
    if unknown := set(names) - {*NAMES, *LONG}:
        print(
            f"benchmarks: there is no {', '.join(sorted(unknown))}; there are: {', '.join((*NAMES, *LONG))}",
            file=sys.stderr,
        )
        return 2
    of_machine = machine()
    print(of_machine, flush=True)
    all_hold = True
    for name in names or NAMES:
        began = perf_counter()
        table: Table = importlib.import_module(f"benchmarks.{name}").run()
        keep(name, table, of_machine)
        all_hold &= table.holds
        print(f"\n{table}\n  ({name}: {perf_counter() - began:.0f} s)", flush=True)
    return 0 if all_hold else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
