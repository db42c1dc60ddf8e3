"""Show figures with their limits as a table of text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from local.text_table import format_table

_DIGITS: Final = {"": 2, "ms": 1, "MB": 0, "times": 0}


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured value that should be at most `limit`.

    An invariant does not depend on speed, for example a number of calls: it must keep its limit.
    """

    name: str
    value: float
    unit: str = ""
    limit: float | None = None
    is_invariant: bool = False

    @property
    def ok(self) -> bool:
        return self.limit is None or self.value <= self.limit

    @property
    def cells(self) -> tuple[str, ...]:
        digits = _DIGITS[self.unit]
        value = f"{self.value:.{digits}f} {self.unit}".rstrip()
        if self.limit is None:
            return self.name, value, "", ""
        return self.name, value, f"{self.limit:.{digits}f} {self.unit}".rstrip(), "yes" if self.ok else "no"


@dataclass(frozen=True, slots=True)
class Table:
    """Figures under a title; `details` are rows of cells, the heads first."""

    title: str
    figures: Sequence[Figure]
    details: Sequence[Sequence[str]] = ()

    @property
    def invariants_hold(self) -> bool:
        """Whether all invariants keep their limits."""
        return all(figure.ok for figure in self.figures if figure.is_invariant)

    @property
    def rows(self) -> list[tuple[str, ...]]:
        return [("figure", "value", "limit", "ok"), *(figure.cells for figure in self.figures)]

    def __str__(self) -> str:
        parts = [self.title, aligned(self.rows)]
        if self.details:
            parts += ["", aligned(self.details)]
        return "\n".join(parts)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return the rows as an indented table: the first column to the left, the others to the right."""
    return format_table(rows, "<" + ">" * (len(rows[0]) - 1), indent="  ")
