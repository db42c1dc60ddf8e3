"""The tree of errors against its drawing: what is drawn is what there is."""

import inspect
import re
from typing import get_args

import pytest

from shared import errors
from shared.errors import (
    Deferred,
    Ignored,
    InternalError,
    ModelNotFound,
    Rejected,
    TenantVisionError,
    Verdict,
)

DRAWN = re.compile(
    r"^ {4}(?P<branch>[│├└─ ]*)(?P<name>[A-Z]\w+)(?: +(?P<status>\d{3}) +(?P<error>\w+))?", re.MULTILINE
)
TREE = {
    name: error
    for name, error in vars(errors).items()
    if inspect.isclass(error) and issubclass(error, TenantVisionError)
}
LEAVES = [error for error in TREE.values() if "status" in vars(error)]


def drawing():
    """Name to (parent, status, error), read off the drawing by its indents."""
    tree = errors.__doc__.split("\n\n")[1]
    found, path = {}, {}
    for line in DRAWN.finditer(tree):
        depth = len(line["branch"]) // 4
        path[depth] = line["name"]
        found[line["name"]] = (path.get(depth - 1), line["status"] and int(line["status"]), line["error"])
    return found


def test_the_drawing_is_the_tree():
    assert drawing() == {
        name: (
            None if error is TenantVisionError else error.__mro__[1].__name__,
            vars(error).get("status"),
            vars(error).get("error"),
        )
        for name, error in TREE.items()
    }


def test_what_is_a_file_not_found_is_drawn_as_one():
    drawn = set(re.findall(r"(\w+) +\d{3} .*FileNotFoundError", errors.__doc__))
    assert drawn == {name for name, error in TREE.items() if issubclass(error, FileNotFoundError)}


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: leaf.__name__)
def test_a_leaf_has_a_verdict_a_status_and_a_name_of_its_own(leaf):
    assert leaf.verdict in get_args(Verdict)
    assert 400 <= leaf.status < 600
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", leaf.error)
    assert [other for other in LEAVES if other.error == leaf.error] == [leaf]


def test_verdicts_follow_the_branches():
    assert {leaf.verdict for leaf in LEAVES if issubclass(leaf, Rejected)} == {"rejected"}
    assert {leaf.verdict for leaf in LEAVES if issubclass(leaf, Deferred)} == {"deferred"}
    assert Ignored.verdict == "ignored"


def test_what_may_heal_has_a_status_of_the_server_s():
    assert all(leaf.status in {503, 504} for leaf in LEAVES if issubclass(leaf, Deferred))


def test_an_error_is_its_sentence():
    assert str(ModelNotFound("t", "detect")) == "Model 'detect' not found for tenant 't'"
    assert ModelNotFound("t", "detect").errno is None
    assert "log" in str(InternalError())
