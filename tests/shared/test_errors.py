"""The error classes, compared with the tree in the module's docstring."""

import errno
import inspect
import re
from typing import get_args

import pytest

from shared import errors
from shared.errors import (
    Deferred,
    Ignored,
    InstanceExhausted,
    InternalError,
    InvalidModel,
    ModelNotFound,
    Rejected,
    TenantVisionError,
    Verdict,
    shortage,
)
from shared.names import MAX_SENTENCE_CHARACTERS, is_printable

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


@pytest.mark.parametrize("error_class", CONCRETE, ids=lambda error_class: error_class.__name__)
def test_message_of_any_error_is_one_short_printable_line(error_class: type[TenantVisionError]) -> None:
    hostile = "\n\0\ud800" + "x" * 12_000_000
    if error_class is InternalError:
        error: TenantVisionError = InternalError()
    elif error_class is ModelNotFound:
        error = ModelNotFound(hostile, hostile)
    else:
        error = error_class(hostile)

    assert 0 < len(str(error)) <= MAX_SENTENCE_CHARACTERS
    assert is_printable(str(error))
    assert len(repr(error)) < 2 * MAX_SENTENCE_CHARACTERS


SHORTAGES = {
    "no memory": MemoryError(),
    "no thread": RuntimeError("can't start new thread"),
    "no thread of ONNX Runtime": Exception(
        "pthread_create failed, error code: 11 error msg: Resource temporarily"
    ),
    "no memory for a file": OSError(errno.ENOMEM, "Cannot allocate memory"),
    "no process": BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"),
    "no file descriptor": OSError(errno.EMFILE, "Too many open files", "models"),
    "no file descriptor of the machine": OSError(errno.ENFILE, "Too many open files in system"),
    "no disk space": OSError(errno.ENOSPC, "No space left on device"),
}


@pytest.mark.parametrize("case", SHORTAGES)
def test_shortage_of_the_instance_is_deferred_with_a_sentence(case: str) -> None:
    error = shortage(SHORTAGES[case])

    assert isinstance(error, InstanceExhausted)
    assert re.fullmatch(r"the instance has no [a-z ]+ left at the moment: try again", str(error))


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"),
        OSError("decoder error -2"),
        OSError(errno.EINVAL, "x"),
        RuntimeError("x"),
        InvalidModel("x"),
    ],
    ids=repr,
)
def test_other_error_is_no_shortage(error: Exception) -> None:
    assert shortage(error) is None
