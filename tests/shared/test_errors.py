"""The error classes, compared with the tree in the module's docstring."""

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

TREE_LINE = re.compile(
    r"^ {4}(?P<branch>[│├└─ ]*)(?P<name>[A-Z]\w+)(?: +(?P<status>\d{3}) +(?P<error>\w+))?", re.MULTILINE
)
TREE = {
    name: error
    for name, error in vars(errors).items()
    if inspect.isclass(error) and issubclass(error, TenantVisionError)
}
CONCRETE = [error for error in TREE.values() if "status" in vars(error)]


def documented_tree() -> dict[str, tuple[str | None, int | None, str | None]]:
    """Map each name in the docstring's tree to its parent, status and error."""
    tree = errors.__doc__.split("\n\n")[1]
    classes: dict[str, tuple[str | None, int | None, str | None]] = {}
    path: dict[int, str] = {}
    for line in TREE_LINE.finditer(tree):
        depth = len(line["branch"]) // 4
        path[depth] = line["name"]
        classes[line["name"]] = (
            path.get(depth - 1),
            int(line["status"]) if line["status"] else None,
            line["error"],
        )
    return classes


def test_tree_in_the_docstring_is_the_class_hierarchy() -> None:
    assert documented_tree() == {
        name: (
            None if error is TenantVisionError else error.__mro__[1].__name__,
            vars(error).get("status"),
            vars(error).get("error"),
        )
        for name, error in TREE.items()
    }


def test_file_not_found_errors_are_noted_in_the_docstring() -> None:
    documented = set(re.findall(r"(\w+) +\d{3} .*FileNotFoundError", errors.__doc__))
    assert documented == {name for name, error in TREE.items() if issubclass(error, FileNotFoundError)}


@pytest.mark.parametrize("error_class", CONCRETE, ids=lambda error_class: error_class.__name__)
def test_concrete_error_has_a_verdict_a_status_and_a_unique_name(error_class: type[TenantVisionError]) -> None:
    assert error_class.verdict in get_args(Verdict)
    assert 400 <= error_class.status < 600
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", error_class.error)
    assert [other for other in CONCRETE if other.error == error_class.error] == [error_class]


def test_verdict_is_that_of_the_base_class() -> None:
    assert {error_class.verdict for error_class in CONCRETE if issubclass(error_class, Rejected)} == {"rejected"}
    assert {error_class.verdict for error_class in CONCRETE if issubclass(error_class, Deferred)} == {"deferred"}
    assert Ignored.verdict == "ignored"


def test_deferred_errors_have_status_503_or_504() -> None:
    assert all(error_class.status in {503, 504} for error_class in CONCRETE if issubclass(error_class, Deferred))


def test_error_messages_are_those_of_the_contract() -> None:
    assert str(ModelNotFound("t", "detect")) == "Model 'detect' not found for tenant 't'"
    assert ModelNotFound("t", "detect").errno is None
    assert "log" in str(InternalError())
