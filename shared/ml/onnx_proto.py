"""Names the field numbers and data types of onnx.proto that `shared.ml.onnx_graph` reads.

Each class lists fields of the message of that name.
Source: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from __future__ import annotations

from typing import Final


class ModelProto:
    GRAPH = 7
    METADATA_PROPS = 14
    TRAINING_INFO = 20
    FUNCTIONS = 25
    CONFIGURATION = 26


class StringStringEntryProto:
    KEY = 1
    VALUE = 2


class GraphProto:
    NODE = 1
    INITIALIZER = 5
    INPUT = 11
    OUTPUT = 12
    VALUE_INFO = 13
    QUANTIZATION_ANNOTATION = 14
    SPARSE_INITIALIZER = 15


class NodeProto:
    INPUT = 1
    OUTPUT = 2
    NAME = 3
    OP_TYPE = 4
    ATTRIBUTE = 5
    DOMAIN = 7
    DEVICE_CONFIGURATIONS = 10


class AttributeProto:
    NAME = 1
    F = 2
    I = 3  # noqa: E741 - as onnx.proto names it
    S = 4
    T = 5
    G = 6
    FLOATS = 7
    INTS = 8
    TENSORS = 10
    GRAPHS = 11
    TP = 14
    TYPE_PROTOS = 15
    SPARSE_TENSOR = 22
    SPARSE_TENSORS = 23


class TensorProto:
    DIMS = 1
    DATA_TYPE = 2
    SEGMENT = 3
    FLOAT_DATA = 4
    INT32_DATA = 5
    STRING_DATA = 6
    INT64_DATA = 7
    NAME = 8
    RAW_DATA = 9
    DOUBLE_DATA = 10
    UINT64_DATA = 11
    EXTERNAL_DATA = 13
    DATA_LOCATION = 14


class ValueInfoProto:
    NAME = 1
    TYPE = 2


class TypeProto:
    TENSOR_TYPE = 1
    SEQUENCE_TYPE = 4


class TypeProtoTensor:
    """TypeProto.Tensor."""

    ELEM_TYPE = 1
    SHAPE = 2


class TensorShapeProto:
    DIM = 1


class Dimension:
    """TensorShapeProto.Dimension."""

    DIM_VALUE = 1
    DIM_PARAM = 2


class DataType:
    """TensorProto.DataType."""

    FLOAT = 1
    UINT8 = 2
    INT8 = 3
    UINT16 = 4
    INT16 = 5
    INT32 = 6
    INT64 = 7
    STRING = 8
    BOOL = 9
    FLOAT16 = 10
    DOUBLE = 11
    UINT32 = 12
    UINT64 = 13
    BFLOAT16 = 16


BITS_PER_VALUE: Final = {
    DataType.FLOAT: 32,
    DataType.UINT8: 8,
    DataType.INT8: 8,
    DataType.UINT16: 16,
    DataType.INT16: 16,
    DataType.INT32: 32,
    DataType.INT64: 64,
    DataType.BOOL: 8,
    DataType.FLOAT16: 16,
    DataType.DOUBLE: 64,
    DataType.UINT32: 32,
    DataType.UINT64: 64,
    DataType.BFLOAT16: 16,
}
NUMERIC_DATA_FIELDS: Final = (  # of a TensorProto's values, beside RAW_DATA and STRING_DATA
    TensorProto.FLOAT_DATA,
    TensorProto.INT32_DATA,
    TensorProto.INT64_DATA,
    TensorProto.DOUBLE_DATA,
    TensorProto.UINT64_DATA,
)
# What ONNX Runtime calls the types that a model's input may have.
ELEM_TYPE_NAMES: Final = {DataType.FLOAT: "tensor(float)", DataType.FLOAT16: "tensor(float16)"}
