"""Write saved tables into docs/performance.md: `python -m benchmarks.performance_page`.

Each table replaces what is between its markers:

    <!-- measured: detect -->
    ...
    <!-- end -->

The rest of the page does not change.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.table import Table

ROOT: Final = Path(__file__).resolve().parent.parent
RESULTS_FOLDER: Final = ROOT / "build" / "benchmarks"
PERFORMANCE_PAGE: Final = ROOT / "docs" / "performance.md"
_BLOCK: Final = re.compile(r"(<!-- measured: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def save_table(name: str, table: Table, machine: str, folder: Path = RESULTS_FOLDER) -> None:
    """Save a table as JSON until the page is written."""
    folder.mkdir(parents=True, exist_ok=True)
    measured = {"machine": machine, "title": table.title, "figures": table.rows, "details": table.details}
    (folder / f"{name}.json").write_text(json.dumps(measured, indent=1), encoding="utf-8")


def with_saved_tables(page: str, folder: Path = RESULTS_FOLDER) -> str:
    """Return the page with every table that has been saved; other blocks are unchanged."""

    def block(match: re.Match[str]) -> str:
        path = folder / f"{match[2]}.json"
        if not path.is_file():
            return match[0]
        return f"{match[1]}{markdown(json.loads(path.read_text(encoding='utf-8')))}{match[3]}"

    return _BLOCK.sub(block, page)


def markdown(measured: dict[str, Any]) -> str:
    """Return a saved table as Markdown."""
    title, machine = measured["title"], " · ".join(measured["machine"].splitlines())
    parts = [f"**{title}**", markdown_table(measured["figures"])]
    if measured["details"]:
        parts.append(markdown_table(measured["details"]))
    return "\n" + "\n\n".join([*parts, f"<sub>{machine}</sub>"]) + "\n\n"


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, heads first; a first cell that repeats the one above is left empty."""
    heads, *rest = rows
    lines = [heads, ["---"] * len(heads)]
    above = ""
    for name, *cells in rest:
        lines.append(["" if name == above else name, *cells])
        above = name
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    PERFORMANCE_PAGE.write_text(with_saved_tables(PERFORMANCE_PAGE.read_text(encoding="utf-8")), encoding="utf-8")
