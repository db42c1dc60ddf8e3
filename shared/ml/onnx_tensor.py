"""Reads the tensors and the numbers of an ONNX file without keeping their values."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from shared.errors import InvalidModel
from shared.ml.onnx_proto import BITS_PER_VALUE, NUMERIC_DATA_FIELDS, DataType, TensorProto
from shared.ml.protobuf_reader import (
    LEN,
    FieldValue,
    ProtobufReader,
    count_varints,
    to_int64,
    unpack_int64s,
)
from shared.names import quoted

MAX_SMALL_VALUES: Final = 64  # the values of a constant or an attribute with more are not read
MAX_TENSOR_VALUES: Final = 2**40  # no file holds as many
_MAX_BYTES_PER_VALUE: Final = 16  # of a complex number of two doubles; a varint has up to 10
_NUMPY_DTYPES: Final = {  # of sizes, scales and the limits of ranges
    DataType.FLOAT: "<f4",
    DataType.INT32: "<i4",
    DataType.INT64: "<i8",
    DataType.DOUBLE: "<f8",
}
_PACKED_DTYPES: Final = {TensorProto.FLOAT_DATA: "<f4", TensorProto.DOUBLE_DATA: "<f8"}  # others are varints
_SHAPE_DTYPES: Final = frozenset((DataType.INT32, DataType.INT64))


@dataclass(slots=True, eq=False)
class Numbers:
    """How many numbers a constant or an attribute has, and the product of their magnitudes; a text has its bytes.

    An operator that takes them as sizes or scales creates at most `product` values, or multiplies those of its
    input by as much. Magnitudes below 1 count as 1. More than `MAX_SMALL_VALUES` numbers have an infinite product.
    """

    count: int = 0
    product: float = 1.0

    def add_field(self, value: FieldValue, packed_dtype: str = "") -> None:
        """Add a numeric field, packed or not; without a dtype its numbers are varints."""
        wire_type, integer, data = value
        if packed_dtype:
            self.add_array(data, packed_dtype)
        elif wire_type != LEN:
            self._add(1, [to_int64(integer)])
        else:
            self._add(count_varints(data), unpack_int64s(data, MAX_SMALL_VALUES))

    def add_array(self, data: memoryview, dtype: str) -> None:
        """Add the numbers of a raw or packed little-endian array."""
        itemsize = np.dtype(dtype).itemsize
        count = len(data) // itemsize
        head = data[: min(count, MAX_SMALL_VALUES) * itemsize]
        self._add(count, map(float, np.frombuffer(head, dtype)))

    def _add(self, count: int, first: Iterable[float]) -> None:
        """Add `count` numbers, of which `first` are as many as are read."""
        self.count += count
        if self.count > MAX_SMALL_VALUES:
            self.product = math.inf
            return
        for number in first:
            magnitude = abs(float(number))
            if not magnitude <= 1.0:  # nor if it is NaN
                self.product *= magnitude


@dataclass(slots=True, eq=False)
class Constant:
    """A tensor that the file contains.

    `size_product` is the product of its values (see `Numbers`), or None if its dtype is not one of sizes.
    `is_shape`: it may be the values of a shape, integers of at most one dimension.
    """

    name: str
    count: int
    size_product: float | None = None
    is_16_bit: bool = False
    is_shape: bool = False
    rank: int = 1


def read_tensor(protobuf: ProtobufReader, data: memoryview) -> Constant:
    """Read a tensor, and check that the file holds as many values as its shape declares.

    Raises:
        InvalidModel: It does not, or the values are in another file.
    """
    tensor = _TensorFields()
    for number, value in protobuf.fields(data):
        tensor.add(protobuf, number, value)
    return tensor.constant()


@dataclass(slots=True, eq=False)
class _TensorFields:
    """What is kept of a tensor's fields; `stored` is an upper bound of the values that are not raw."""

    name: str = ""
    dtype: int = 0
    dims: list[int] = field(default_factory=list)
    raw: memoryview | None = None
    stored: int = 0
    stored_bytes: int = 0
    numbers: Numbers = field(default_factory=Numbers)

    def add(self, protobuf: ProtobufReader, number: int, value: FieldValue) -> None:
        wire_type, integer, data = value
        if number == TensorProto.DIMS:
            self.dims += unpack_int64s(data, MAX_SMALL_VALUES) if wire_type == LEN else [to_int64(integer)]
            if len(self.dims) >= MAX_SMALL_VALUES:
                raise self._invalid_shape()
        elif number == TensorProto.DATA_TYPE:
            self.dtype = integer
        elif number == TensorProto.NAME:
            self.name = protobuf.text(data)
        elif number == TensorProto.RAW_DATA:
            self.raw = data
        elif number == TensorProto.EXTERNAL_DATA or (number == TensorProto.DATA_LOCATION and integer):
            raise InvalidModel(
                "The model's weights are in another file: export it with all weights inside the .onnx file"
            )
        elif number == TensorProto.SEGMENT:
            raise InvalidModel("The file is not an ONNX model: a tensor is split into segments")
        else:
            self._add_data(number, value)

    def _add_data(self, number: int, value: FieldValue) -> None:
        if number in NUMERIC_DATA_FIELDS:
            size = len(value[2])
            self.stored += max(size, 1)  # a value takes at least one byte
            self.stored_bytes += size
            self.numbers.add_field(value, _PACKED_DTYPES.get(number, ""))
        elif number == TensorProto.STRING_DATA:
            self.stored += 1

    def constant(self) -> Constant:
        """Check the values against the shape, and return what is known of the tensor."""
        count, numbers, stored, stored_bytes = self._value_count(), self.numbers, self.stored, self.stored_bytes
        is_raw = self.raw is not None and self.dtype != DataType.STRING
        if self.raw is not None and is_raw:
            numbers = Numbers()
            if self.dtype in _NUMPY_DTYPES:
                numbers.add_array(self.raw, _NUMPY_DTYPES[self.dtype])
            stored, stored_bytes = len(self.raw) * 8 // BITS_PER_VALUE.get(self.dtype, 2), len(self.raw)
        if count > stored:
            raise InvalidModel(
                f"The tensor {quoted(self.name)} declares {count} values; the file contains {stored}"
            )
        if stored_bytes > count * _max_bytes_per_value(self.dtype, is_raw=is_raw):
            raise InvalidModel(
                f"The tensor {quoted(self.name)} declares {count} values; "
                f"the file contains {stored_bytes} bytes of them"
            )
        return Constant(
            self.name,
            count,
            numbers.product if self.dtype in _NUMPY_DTYPES else None,
            BITS_PER_VALUE.get(self.dtype) == 16,
            self.dtype in _SHAPE_DTYPES and len(self.dims) <= 1,
            len(self.dims),
        )

    def _value_count(self) -> int:
        count = 1
        for size in self.dims:
            count *= size
            if size < 0 or count > MAX_TENSOR_VALUES:
                raise self._invalid_shape()
        return count

    def _invalid_shape(self) -> InvalidModel:
        return InvalidModel(f"The tensor {quoted(self.name)} has an invalid shape: {str(self.dims)[:100]}")


def _max_bytes_per_value(dtype: int, *, is_raw: bool) -> int:
    return BITS_PER_VALUE[dtype] // 8 if is_raw and dtype in BITS_PER_VALUE else _MAX_BYTES_PER_VALUE
