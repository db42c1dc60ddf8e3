"""What an export's metadata say: strings that hold Python literals, read as data and never evaluated. Pure."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any, Final

from shared.errors import InvalidModel
from shared.names import is_printable

_LONGEST: Final = 2**20  # characters of a literal, …
_MOST: Final = 50_000  # … and commas: reading a list takes 940 bytes for each


class Metadata:
    """The keys that exports of this family carry: names, imgsz, stride, task, head, end2end, args."""

    def __init__(self, strings: Mapping[str, str]) -> None:
        self._strings = strings

    @property
    def task(self) -> str | None:
        """What the model was trained for; only exports since YOLOv8 say so."""
        return self._strings.get("task")

    @property
    def is_rtdetr(self) -> bool:
        return "rtdetr" in self._strings.get("head", "").lower()

    @property
    def is_end_to_end(self) -> bool:
        """The network itself gives one box an object."""
        return self._strings.get("end2end") == "True"

    @property
    def has_nms(self) -> bool:
        """A suppression was exported with the network; which thresholds it has is not recorded."""
        arguments = self._literal("args")
        return isinstance(arguments, dict) and bool(arguments.get("nms"))

    @property
    def labels(self) -> tuple[str, ...] | None:
        """The classes' labels in the order of their ids; None where the file has none."""
        if "names" not in self._strings:
            return None
        names = self._literal("names")
        if isinstance(names, (list, tuple)):
            names = dict(enumerate(names))
        if not isinstance(names, dict) or not names or set(names) != set(range(len(names))):
            raise InvalidModel("The metadata's names are not labels numbered from 0")
        labels = tuple(str(names[index]) for index in range(len(names)))
        if not all(map(is_printable, labels)):
            raise InvalidModel("The metadata's names have control characters")
        return labels

    @property
    def image_hw(self) -> tuple[int, int] | None:
        """(height, width) in px that the model was exported for."""
        size = self._literal("imgsz")
        if not size:
            return None
        sides = (size, size) if type(size) is int else size
        if not isinstance(sides, (list, tuple)) or len(sides) != 2 or not all(map(_is_length, sides)):
            raise InvalidModel("The metadata's imgsz is neither a side nor [height, width] in pixels")
        return sides[0], sides[1]

    @property
    def stride(self) -> int:
        """Px; at least 32, as the whole family takes."""
        stride = self._literal("stride") or 32
        if not _is_length(stride):
            raise InvalidModel("The metadata's stride is not a number of pixels")
        return max(32, int(stride))

    def _literal(self, key: str) -> Any:
        """The Python literal under `key`; None where there is none."""
        if not self._strings.get(key):
            return None
        if len(self._strings[key]) > _LONGEST or self._strings[key].count(",") > _MOST:
            raise InvalidModel(
                f"The metadata's {key} is too long: up to {_LONGEST} characters and {_MOST} commas are read"
            )
        try:
            return ast.literal_eval(self._strings[key])
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
            raise InvalidModel(f"The metadata's {key} is not a Python literal") from error


def _is_length(value: object) -> bool:
    return type(value) is int and value > 0
