"""Reads the metadata that Ultralytics writes into an export.

Its values are strings of Python literals, which are parsed with `ast.literal_eval` and never evaluated.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any, Final

from shared.errors import InvalidModel
from shared.names import is_printable

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
        labels = tuple(str(names[index]) for index in range(len(names)))
        if not all(map(is_printable, labels)):
            raise InvalidModel("The metadata's names are invalid: labels must be printable")
        return labels

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


def _is_length(value: object) -> bool:
    return type(value) is int and value > 0
