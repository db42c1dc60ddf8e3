"""Protobuf's wire format, read field by field without copying and without knowing any message. Pure.

Stricter than protobuf where a file that two readers understand differently could hide something: groups, numbers
of another size than their field's and singular messages in several parts are no mistake to protobuf, are written
by nobody, and are refused by whoever reads with this. (https://protobuf.dev/programming-guides/encoding)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator
from typing import Final

from shared.errors import InvalidModel

VARINT: Final = 0
FIXED64: Final = 1
BYTES: Final = 2
FIXED32: Final = 5
_VARINT_BYTES: Final = 10
_NOTHING: Final = memoryview(b"")

Part = tuple[int, int, memoryview]  # a field's wire type, and its integer or its bytes


class Reader:
    """Reads messages of one file, up to `max_fields` in all: what is nested counts too."""

    def __init__(self, max_fields: int) -> None:
        self._left = max_fields
        self._most = max_fields

    def fields(self, message: memoryview) -> Generator[tuple[int, Part]]:
        """The fields of a message, by their numbers, in their order. Integers are unsigned, as they stand there.

        Raises:
            InvalidModel: it is no message, or the file has more fields than are read.
        """
        at, end = 0, len(message)
        while at < end:
            self._left -= 1
            if self._left < 0:
                raise InvalidModel(f"The file has more than {self._most} parts")
            tag, at = varint(message, at)
            kind, integer, value = tag & 7, 0, _NOTHING
            if kind == VARINT:
                integer, at = varint(message, at)
            else:
                if kind == BYTES:
                    size, at = varint(message, at)
                elif kind in {FIXED64, FIXED32}:
                    size = 8 if kind == FIXED64 else 4
                else:
                    raise _broken()
                if size > end - at:
                    raise _broken()
                value = message[at : at + size]
                at += size
            if tag < 8:
                raise _broken()
            yield tag >> 3, (kind, integer, value)

    def parts(self, message: memoryview) -> defaultdict[int, list[Part]]:
        """The same, those of one number together. Raises: as `fields`."""
        found: defaultdict[int, list[Part]] = defaultdict(list)
        for number, part in self.fields(message):
            found[number].append(part)
        return found


def varint(data: memoryview, at: int) -> tuple[int, int]:
    """The number of seven bits a byte that begins there, and where it ends."""
    value = 0
    for index in range(_VARINT_BYTES):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at
    raise _broken()


def signed(number: int) -> int:
    """An int64 that the file holds as its two's complement."""
    return number - (1 << 64) if number >> 63 else number


def packed(data: memoryview, most: int) -> list[int]:
    """Varints one behind the other, as int64; no more than the first `most`."""
    values: list[int] = []
    at = 0
    while at < len(data) and len(values) < most:
        value, at = varint(data, at)
        values.append(signed(value))
    return values


def text(data: memoryview) -> str:
    """A name as ONNX Runtime would show it; bytes that are no UTF-8 are replaced."""
    return str(data, "utf-8", "replace")


def _broken() -> InvalidModel:
    return InvalidModel("The file is not an ONNX model: it is damaged, or something else")
