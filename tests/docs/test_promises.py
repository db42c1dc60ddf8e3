"""Every promise that docs/ makes in a table names the test that proves it, and that test is there, and runs."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEADING = re.compile(r"^\|(.*\|)? promise \|(.*\|)? test \|$")
PROVES_NOTHING = {"skip", "skipif", "xfail"}
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
    """The names of a file's test functions, without those that are skipped or expected to fail."""
    tree = ast.parse((ROOT / path).read_text())
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    return {each.name for each in functions if not marks(each) & PROVES_NOTHING}


def marks(function):
    decorators = [part for each in function.decorator_list for part in ast.walk(each)]
    return {part.attr for part in decorators if isinstance(part, ast.Attribute)}


def test_the_pages_of_promises_are_found():
    assert {"reliability.md", "security.md"} <= {page.name for page in PAGES}


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
