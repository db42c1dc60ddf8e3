"""Rows of work take turns with bare runs of their models: what slows the machine down for a while slows both.

What a row costs is told as a ratio to its bare runs, and its stages as the summary of an event tells them.
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
class Taken:
    """Milliseconds, turn by turn."""

    work: list[float] = field(default_factory=list)
    stages: list[dict[str, float]] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)

    def turn(self, row: Row) -> None:
        began = perf_counter()
        with event_record() as summary:
            row.work()
        self.work.append((perf_counter() - began) * 1000)
        self.stages.append(summary.timings_ms)
        began = perf_counter()
        row.bare()
        self.bare.append((perf_counter() - began) * 1000)

    @property
    def by_medians(self) -> float:
        return median(self.work) / median(self.bare)

    @property
    def by_minimums(self) -> float:
        return min(self.work) / min(self.bare)

    @property
    def parts(self) -> Iterator[tuple[str, list[float]]]:
        """The stages in the order they end in, what is between them, and the bare run."""
        names = dict.fromkeys(name for each in self.stages for name in each if name != "total")
        for name in names:
            yield name, [each.get(name, 0.0) for each in self.stages]
        named = [sum(each.get(name, 0.0) for name in names) for each in self.stages]
        yield "between them", [max(whole - sum_ms, 0.0) for whole, sum_ms in zip(self.work, named, strict=True)]
        yield "whole", self.work
        yield "bare run", self.bare


def in_turn(rows: Sequence[Row], rounds: int, warm_up: int = WARM_UP) -> list[Taken]:
    """Every row, then every row again, `rounds` times after some that do not count."""
    taken = [Taken() for _ in rows]
    for index in range(-min(warm_up, rounds - 1), rounds):
        if index == 0:
            taken = [Taken() for _ in rows]
            gc.collect()
        for row, each in zip(rows, taken, strict=True):
            each.turn(row)
    return taken


def table(title: str, rows: Sequence[Row], taken: Sequence[Taken]) -> Table:
    figures, details = [], [_HEADS]
    for row, each in zip(rows, taken, strict=True):
        figures.append(Figure(f"{row.name}: medians", each.by_medians, limit=row.limit))
        figures.append(Figure(f"{row.name}: minimums", each.by_minimums, limit=row.limit))
        bare = median(each.bare)
        details += [
            (row.name, name, f"{median(ms):.1f} ms", f"{min(ms):.1f} ms", f"{median(ms) / bare:.2f}")
            for name, ms in each.parts
        ]
    return Table(title, figures, details)
