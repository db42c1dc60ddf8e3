"""Time work and bare runs of its model alternately: what slows the machine down for a while slows both down.

The cost of a row is the ratio to its bare runs. Its stages are those of an event record.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter
from typing import Final

from benchmarks.table import Figure, Table
from shared.runtime.event_record import event_record

WARM_UP: Final = 3
_HEADS: Final = ("row", "stage", "median", "minimum", "/ bare run")


@dataclass(frozen=True, slots=True)
class Row:
    """`work` is timed beside `bare`; the ratio of the two should be at most `limit`."""

    name: str
    work: Callable[[], object]
    bare: Callable[[], object]
    limit: float | None = None


@dataclass(slots=True)
class PairedTimings:
    """The milliseconds of work and bare runs, round by round."""

    work: list[float] = field(default_factory=list)
    stages: list[dict[str, float]] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)

    def measure(self, row: Row) -> None:
        """Time the row's work, and one bare run after it."""
        began = perf_counter()
        with event_record() as summary:
            row.work()
        self.work.append((perf_counter() - began) * 1000)
        self.stages.append(summary.timings_ms)
        began = perf_counter()
        row.bare()
        self.bare.append((perf_counter() - began) * 1000)

    @property
    def ratio_of_medians(self) -> float:
        return median(self.work) / median(self.bare)

    @property
    def ratio_of_minimums(self) -> float:
        return min(self.work) / min(self.bare)

    @property
    def stages_and_totals(self) -> Iterator[tuple[str, list[float]]]:
        """The milliseconds of each stage in order of completion, of the rest, of the whole, and of bare runs."""
        names = dict.fromkeys(name for each in self.stages for name in each if name != "total")
        for name in names:
            yield name, [each.get(name, 0.0) for each in self.stages]
        named = [sum(each.get(name, 0.0) for name in names) for each in self.stages]
        yield "between them", [max(whole - sum_ms, 0.0) for whole, sum_ms in zip(self.work, named, strict=True)]
        yield "whole", self.work
        yield "bare run", self.bare


def measure_rows(rows: Sequence[Row], rounds: int, warm_up: int = WARM_UP) -> list[PairedTimings]:
    """Measure all rows `rounds` times in turn, after some rounds that do not count."""
    timings = [PairedTimings() for _ in rows]
    for index in range(-min(warm_up, rounds - 1), rounds):
        if index == 0:
            timings = [PairedTimings() for _ in rows]
            gc.collect()
        for row, each in zip(rows, timings, strict=True):
            each.measure(row)
    return timings


def timing_table(title: str, rows: Sequence[Row], timings: Sequence[PairedTimings]) -> Table:
    """Return the ratios of the rows, with their stages as details."""
    figures, details = [], [_HEADS]
    for row, each in zip(rows, timings, strict=True):
        figures.append(Figure(f"{row.name}: medians", each.ratio_of_medians, limit=row.limit))
        figures.append(Figure(f"{row.name}: minimums", each.ratio_of_minimums, limit=row.limit))
        bare = median(each.bare)
        details += [
            (row.name, name, f"{median(ms):.1f} ms", f"{min(ms):.1f} ms", f"{median(ms) / bare:.2f}")
            for name, ms in each.stages_and_totals
        ]
    return Table(title, figures, details)
