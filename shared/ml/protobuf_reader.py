"""Reads Protocol Buffers messages field by field, without a schema and without copying their bytes.

The format is described at https://protobuf.dev/programming-guides/encoding. This reader is stricter than the
standard where two readers could understand one file differently, and so something could be hidden from the checks:
it rejects groups, the field number 0 and values that are longer than their message. Its callers also reject a
singular message that occurs twice, which protobuf would merge. No exporter writes any of these.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Final

import numpy as np

from shared.errors import InvalidModel
from shared.runtime import deadline

# Wire types, by the names of the specification.
VARINT: Final = 0
I64: Final = 1
LEN: Final = 2
I32: Final = 5

MAX_TEXT_BYTES: Final = 8 * 2**20  # of all names and metadata of a file together
_MAX_VARINT_BYTES: Final = 10
_FIELDS_PER_DEADLINE_CHECK: Final = 4096
_COUNTED_BYTES: Final = 2**20  # in which the integers are counted at once
_NO_BYTES: Final = memoryview(b"")

FieldValue = tuple[int, int, memoryview]  # wire type; the integer of a VARINT; the bytes of any other


class ProtobufReader:
    """Reads the messages of one file, nested ones included.

    It reads up to `max_fields` fields and `MAX_TEXT_BYTES` of text in all.
    """

    def __init__(self, max_fields: int) -> None:
        self._max_fields = max_fields
        self._remaining_fields = max_fields
        self._remaining_text_bytes = MAX_TEXT_BYTES

    def fields(self, message: memoryview) -> Generator[tuple[int, FieldValue]]:
        """Yield the number and the value of each field of a message, in the file's order.

        Integers are unsigned, as they are encoded: see `to_int64`.

        Raises:
            InvalidModel: The bytes are no message, or the file has more than `max_fields` fields.
            DeadlineExceeded: The event's deadline passed.
        """
        at, end = 0, len(message)
        while at < end:
            self._remaining_fields -= 1
            if self._remaining_fields < 0:
                raise InvalidModel(f"The file has more than {self._max_fields} protobuf fields, the limit")
            if self._remaining_fields % _FIELDS_PER_DEADLINE_CHECK == 0:
                deadline.check()
            key, at = read_varint(message, at)
            wire_type, integer, value = key & 7, 0, _NO_BYTES
            if wire_type == VARINT:
                integer, at = read_varint(message, at)
            else:
                if wire_type == LEN:
                    size, at = read_varint(message, at)
                elif wire_type in {I64, I32}:
                    size = 8 if wire_type == I64 else 4
                else:
                    raise _malformed()
                if size > end - at:
                    raise _malformed()
                value = message[at : at + size]
                at += size
            if key < 8:
                raise _malformed()
            yield key >> 3, (wire_type, integer, value)

    def text(self, data: memoryview) -> str:
        """Return a string field.

        Raises:
            InvalidModel: It is not UTF-8, or the file has more than `MAX_TEXT_BYTES` of text.
        """
        self._remaining_text_bytes -= len(data)
        if self._remaining_text_bytes < 0:
            raise InvalidModel(f"The file has more than {MAX_TEXT_BYTES} bytes of names and metadata, the limit")
        try:
            return str(data, "utf-8")
        except UnicodeDecodeError as error:
            raise InvalidModel(
                "The file has a name or metadata that is not valid UTF-8: export it again"
            ) from error


def read_varint(data: memoryview, at: int) -> tuple[int, int]:
    """Return the base-128 varint that begins at index `at`, and the index after it."""
    value = 0
    for index in range(_MAX_VARINT_BYTES):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at
    raise _malformed()


def to_int64(number: int) -> int:
    """Return the signed value of an int64, which a varint encodes as two's complement."""
    return number - (1 << 64) if number >> 63 else number


def unpack_int64s(data: memoryview, max_values: int) -> list[int]:
    """Return the first `max_values` of a packed repeated int64 field."""
    values: list[int] = []
    at = 0
    while at < len(data) and len(values) < max_values:
        value, at = read_varint(data, at)
        values.append(to_int64(value))
    return values


def count_varints(data: memoryview) -> int:
    """Return how many integers a packed field has: one for each byte without a continuation bit."""
    count = 0
    for at in range(0, len(data), _COUNTED_BYTES):
        deadline.check()
        count += int(np.count_nonzero(np.frombuffer(data[at : at + _COUNTED_BYTES], np.uint8) < 0x80))
    return count


def _malformed() -> InvalidModel:
    return InvalidModel("The file is not an ONNX model: it is damaged or has another format")
