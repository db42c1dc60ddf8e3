"""Every promise in a table of docs/ names the tests that prove it; they exist, and are not skipped."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEADING = re.compile(r"^\|(.*\|)? promise \|(.*\|)? test \|$")
PROVES_NOTHING = {"skip", "skipif", "xfail"}
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def promises(page: Path) -> list[tuple[int, str]]:
    """Return line number and last cell of the rows of each table with columns `promise` and, last, `test`."""
    rows, within = [], False
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if HEADING.match(line):
            within = True
        elif within and line.startswith("|"):
            if set(line) - set("|-: "):
                rows.append((number, line.rstrip("| ").rsplit("|", 1)[1].strip()))
        else:
            within = False
    return rows


PAGES = [page for page in sorted((ROOT / "docs").glob("*.md")) if promises(page)]


@cache
def names_of_tests(path: str) -> set[str]:
    """Return the names of a file's test functions, without those that are skipped or expected to fail."""
    tree = ast.parse((ROOT / path).read_text())
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    return {each.name for each in functions if not marks_of(each) & PROVES_NOTHING}


def marks_of(function: ast.FunctionDef) -> set[str]:
    decorators = [part for each in function.decorator_list for part in ast.walk(each)]
    return {part.attr for part in decorators if isinstance(part, ast.Attribute)}


def test_reliability_and_security_pages_have_promises() -> None:
    assert {"reliability.md", "security.md"} <= {page.name for page in PAGES}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_promise_names_existing_tests(page: Path) -> None:
    mistakes = []
    for number, cell in promises(page):
        named = NAMED.findall(cell)
        if not named or NAMED.sub("", cell).strip(" ,"):
            mistakes.append(f"{page.name}:{number}: expected a list of `tests/…py::test_…`, got {cell!r}")
        mistakes += [
            f"{page.name}:{number}: {path} has no {test}"
            for path, test in named
            if not (ROOT / path).is_file() or test not in names_of_tests(path)
        ]
    assert not mistakes, "\n".join(mistakes)
