"""Every promise that docs/ makes in a table names the test that proves it, and that test is there."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEADING = re.compile(r"^\|(.*\|)? promise \|(.*\|)? test \|$")
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def promises(page):
    """The rows of each table with a column `promise` and a last column `test`: line number, and the last cell."""
    found, within = [], False
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if HEADING.match(line):
            within = True
        elif within and line.startswith("|"):
            if set(line) - set("|-: "):
                found.append((number, line.rstrip("| ").rsplit("|", 1)[1].strip()))
        else:
            within = False
    return found


PAGES = [page for page in sorted((ROOT / "docs").glob("*.md")) if promises(page)]


@cache
def names_of_tests(path):
    """The names of a file's test functions."""
    tree = ast.parse((ROOT / path).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_the_pages_of_promises_are_found():
    assert "security.md" in {page.name for page in PAGES}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_promise_names_tests_that_are_there(page):
    mistakes = []
    for number, cell in promises(page):
        named = NAMED.findall(cell)
        if not named or NAMED.sub("", cell).strip(" ,"):
            mistakes.append(f"{page.name}:{number}: the last cell is not a list of `tests/…py::test_…`: {cell!r}")
        mistakes += [
            f"{page.name}:{number}: there is no {test} in {path}"
            for path, test in named
            if not (ROOT / path).is_file() or test not in names_of_tests(path)
        ]
    assert not mistakes, "\n".join(mistakes)
