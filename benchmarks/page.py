"""Writes what was measured into docs/performance.md, each table between its marks: `python -m benchmarks.page`.

    <!-- measured: detect -->
    ...
    <!-- end -->

Everything else on the page is written by people and stays.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.table import Table

ROOT: Final = Path(__file__).resolve().parent.parent
KEPT: Final = ROOT / "build" / "benchmarks"
PAGE: Final = ROOT / "docs" / "performance.md"
_BLOCK: Final = re.compile(r"(<!-- measured: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def keep(name: str, table: Table, machine: str, folder: Path = KEPT) -> None:
    """Remember a table until the page is written."""
    folder.mkdir(parents=True, exist_ok=True)
    measured = {"machine": machine, "title": table.title, "figures": table.rows, "details": table.details}
    (folder / f"{name}.json").write_text(json.dumps(measured, indent=1), encoding="utf-8")


def written(page: str, folder: Path = KEPT) -> str:
    """The page with every table of which there are figures; the others as they were."""

    def block(found: re.Match[str]) -> str:
        path = folder / f"{found[2]}.json"
        if not path.is_file():
            return found[0]
        return f"{found[1]}{markdown(json.loads(path.read_text(encoding='utf-8')))}{found[3]}"

    return _BLOCK.sub(block, page)


def markdown(measured: dict[str, Any]) -> str:
    title, machine = measured["title"], " · ".join(measured["machine"].splitlines())
    parts = [f"**{title}**", grid(measured["figures"])]
    if measured["details"]:
        parts.append(grid(measured["details"]))
    return "\n" + "\n\n".join([*parts, f"<sub>{machine}</sub>"]) + "\n\n"


def grid(rows: Sequence[Sequence[str]]) -> str:
    """A table, its first row the heads; a name that the row above has too is not said again."""
    heads, *rest = rows
    lines = [heads, ["---"] * len(heads)]
    above = ""
    for name, *cells in rest:
        lines.append(["" if name == above else name, *cells])
        above = name
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
