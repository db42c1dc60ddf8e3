"""Reads the metadata that Ultralytics writes into an export.

Its values are strings of Python literals, which are parsed with `ast.literal_eval` and never evaluated.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any, Final

from shared.errors import InvalidModel
from shared.names import is_printable, quoted

MAX_LABELS: Final = 30_000
MAX_LABEL_CHARACTERS: Final = 256  # as `labels` in the options of pipelines

_MAX_LENGTH_PX: Final = 10**6  # beyond all limits of images and canvases, and short enough for a message
_MAX_LITERAL_CHARS: Final = 2**20
_MAX_LITERAL_COMMAS: Final = 50_000  # each takes 940 bytes while it is parsed


class Metadata:
    """The values of the keys that are used: names, imgsz, stride, task, head, end2end and args."""

    def __init__(self, strings: Mapping[str, str]) -> None:
        self._strings = strings

    @property
    def task(self) -> str | None:
        """What the model was trained for; exports before YOLOv8 do not declare it."""
        return self._strings.get("task")

    @property
    def is_rtdetr(self) -> bool:
        return "rtdetr" in self._strings.get("head", "").lower()

    @property
    def is_end_to_end(self) -> bool:
        """Whether the network itself returns one box per object."""
        return self._strings.get("end2end") == "True"

    @property
    def has_nms(self) -> bool:
        """Whether the graph includes a suppression, whose thresholds are not recorded."""
        arguments = self._literal("args")
        return isinstance(arguments, dict) and bool(arguments.get("nms"))

    @property
    def labels(self) -> tuple[str, ...] | None:
        """The labels in the order of their class ids, or None if the file has none."""
        if "names" not in self._strings:
            return None
        names = self._literal("names")
        if isinstance(names, (list, tuple)):
            names = dict(enumerate(names))
        if not isinstance(names, dict) or not names or set(names) != set(range(len(names))):
            raise InvalidModel("The metadata's names are invalid: expected labels numbered from 0")
        ensure_label_count(len(names))
        return tuple(_label(names[index]) for index in range(len(names)))

    @property
    def image_hw(self) -> tuple[int, int] | None:
        """The image size (height, width) in px that the model was exported for."""
        size = self._literal("imgsz")
        if not size:
            return None
        sides = (size, size) if type(size) is int else size
        if not isinstance(sides, (list, tuple)) or len(sides) != 2 or not all(map(_is_length, sides)):
            raise InvalidModel("The metadata's imgsz is invalid: expected one side or [height, width] in pixels")
        return sides[0], sides[1]

    @property
    def stride(self) -> int:
        """The model's stride in px: at least 32, which suits all models of the YOLO family."""
        stride = self._literal("stride") or 32
        if not _is_length(stride):
            raise InvalidModel("The metadata's stride is invalid: expected a number of pixels")
        return max(32, int(stride))

    def _literal(self, key: str) -> Any:
        """Return the Python literal of `key`, or None if there is none."""
        if not self._strings.get(key):
            return None
        if len(self._strings[key]) > _MAX_LITERAL_CHARS or self._strings[key].count(",") > _MAX_LITERAL_COMMAS:
            raise InvalidModel(
                f"The metadata's {key} is too long: the limit is {_MAX_LITERAL_CHARS} characters and "
                f"{_MAX_LITERAL_COMMAS} commas"
            )
        try:
            return ast.literal_eval(self._strings[key])
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
            raise InvalidModel(f"The metadata's {key} is invalid: expected a Python literal") from error


def ensure_label_count(count: int) -> None:
    """Check how many labels a model has: every one of them is in every result.

    Raises:
        InvalidModel: they are more than MAX_LABELS.
    """
    if count > MAX_LABELS:
        raise InvalidModel(f"The model has {count} classes; the limit is {MAX_LABELS}")


def _label(name: object) -> str:
    try:
        label = str(name)
    except ValueError:  # an integer of more than 4,300 digits, or a list with one
        label = "?" * (MAX_LABEL_CHARACTERS + 1)
    if len(label) > MAX_LABEL_CHARACTERS or not is_printable(label):
        raise InvalidModel(
            f"The metadata's names are invalid: labels must be printable, and have at most {MAX_LABEL_CHARACTERS} "
            f"characters; got {quoted(label)}"
        )
    return label


def _is_length(value: object) -> bool:
    return type(value) is int and 0 < value <= _MAX_LENGTH_PX
