"""Builds ONNX files whose parts are larger than any exporter writes, to measure what checking them takes."""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from shared.ml import onnx_proto
from shared.ml.protobuf_reader import MAX_TEXT_BYTES
from testing.hostile_graphs import encoded_field, model_bytes, model_proto, node

FILE_BYTES: Final = 12 * 2**20


def _with_nodes(*nodes: onnx.NodeProto, metadata: dict[str, str] | None = None) -> bytes:
    return model_bytes([*nodes, node("Identity", "answer", "output0")], metadata=metadata)


def tensor_of_one_value() -> bytes:
    """Return a model with a tensor that declares one value and holds millions."""
    model = model_proto([node("Identity", "answer", "output0")], {"w": np.zeros(FILE_BYTES // 4, np.float32)})
    model.graph.initializer[1].ClearField("dims")
    return bytes(model.SerializeToString())


def packed_tensor_of_one_value() -> bytes:
    """Return a model with a tensor that declares one value and holds millions of packed integers."""
    model = model_proto([node("Identity", "answer", "output0")])
    model.graph.initializer.add(name="w", data_type=TensorProto.INT64, int64_data=[1] * FILE_BYTES)
    return bytes(model.SerializeToString())


def packed_float_attributes() -> bytes:
    """Return a model of four operators with hundreds of thousands of floats each in one attribute."""
    return _with_packed_attributes(4, onnx_proto.AttributeProto.FLOATS, bytes(FILE_BYTES // 4))


def packed_integer_attributes() -> bytes:
    """Return a model of many operators with 300,000 integers of one byte each in one attribute."""
    return _with_packed_attributes(FILE_BYTES // 300_000, onnx_proto.AttributeProto.INTS, bytes([1]) * 300_000)


def _with_packed_attributes(count: int, field: int, packed: bytes) -> bytes:
    model = model_proto([node("Identity", "answer", "output0")])
    attribute = onnx.AttributeProto(name="sizes").SerializeToString() + encoded_field(field, packed)
    graph = model.graph.SerializeToString()
    for index in range(count):
        operator = node("Identity", "answer", f"x{index}").SerializeToString()
        operator += encoded_field(onnx_proto.NodeProto.ATTRIBUTE, attribute)
        graph += encoded_field(onnx_proto.GraphProto.NODE, operator)
    return _with_graph(model, graph)


def constants_of_64_values() -> bytes:
    """Return a model of 20,000 tensors whose values are few enough to be read."""
    model = model_proto([node("Identity", "answer", "output0")])
    values = np.ones(64, np.int64)
    model.graph.initializer.extend(numpy_helper.from_array(values, f"w{index}") for index in range(20_000))
    return bytes(model.SerializeToString())


def attributes_of_64_values() -> bytes:
    """Return a model of 19,000 operators with an attribute whose values are few enough to be read."""
    return _with_packed_attributes(19_000, onnx_proto.AttributeProto.INTS, bytes([1]) * 64)


def long_name() -> bytes:
    """Return a model with a name of millions of characters, four bytes each in memory."""
    return _with_nodes(node("Identity", "answer", "😀" + "x" * FILE_BYTES))


def inputs_of_one_operator() -> bytes:
    """Return a model of one operator with hundreds of thousands of inputs."""
    return _with_nodes(helper.make_node("Sum", [f"{index:x}" for index in range(399_000)], ["x"]))


def empty_graphs() -> bytes:
    """Return a model of one operator with hundreds of thousands of empty graphs."""
    operator = helper.make_node("Identity", ["answer"], ["x"])
    attribute = onnx.AttributeProto(name="graphs", type=onnx.AttributeProto.GRAPHS)
    attribute.graphs.extend([onnx.GraphProto()] * 399_000)
    operator.attribute.append(attribute)
    return _with_nodes(operator)


def tiny_tensors() -> bytes:
    """Return a model of as many tensors as a file may have."""
    model = model_proto([node("Identity", "answer", "output0")])
    for index in range(133_000):
        model.graph.initializer.add(name=f"{index:x}", dims=[0])
    return bytes(model.SerializeToString())


def metadata_of_wide_characters() -> bytes:
    """Return a model with as much metadata as a file may have, four bytes a character in memory."""
    return _with_nodes(metadata={"names": "😀" + "x" * (MAX_TEXT_BYTES - 200)})


def unpacked_values() -> bytes:
    """Return a model of a tensor whose values are one protobuf field each."""
    model = model_proto([node("Identity", "answer", "output0")])
    tensor = onnx.TensorProto(name="w", data_type=TensorProto.INT64, dims=[399_000])
    content = tensor.SerializeToString() + bytes([onnx_proto.TensorProto.INT64_DATA << 3, 1]) * 399_000
    initializer = encoded_field(onnx_proto.GraphProto.INITIALIZER, content)
    return _with_graph(model, model.graph.SerializeToString() + initializer)


def _with_graph(model: onnx.ModelProto, graph: bytes) -> bytes:
    model.ClearField("graph")
    return bytes(model.SerializeToString() + encoded_field(onnx_proto.ModelProto.GRAPH, graph))


def unused_dimensions(count: int = 400_000) -> bytes:
    """Return a model that describes an unused tensor of so many dimensions: 2 bytes each, 136 once parsed."""
    return _with_value_info(_type_of_dimensions(count))


def unused_sequence(count: int = 2**19) -> bytes:
    """Return a model that describes an unused sequence of tensors of so many dimensions."""
    sequence = encoded_field(onnx_proto.TypeProto.SEQUENCE_TYPE, encoded_field(1, _type_of_dimensions(count)))
    return _with_value_info(sequence)


def _type_of_dimensions(count: int) -> bytes:
    dimension = encoded_field(onnx_proto.TensorShapeProto.DIM, b"")
    shape = encoded_field(onnx_proto.TypeProtoTensor.SHAPE, dimension * count)
    return encoded_field(onnx_proto.TypeProto.TENSOR_TYPE, shape)


def _with_value_info(type_proto: bytes) -> bytes:
    model = model_proto([node("Identity", "answer", "output0")])
    value_info = onnx.ValueInfoProto(name="unused").SerializeToString()
    value_info += encoded_field(onnx_proto.ValueInfoProto.TYPE, type_proto)
    graph = model.graph.SerializeToString() + encoded_field(onnx_proto.GraphProto.VALUE_INFO, value_info)
    return _with_graph(model, graph)


BUILDERS: Final[Mapping[str, Callable[[], bytes]]] = {
    builder.__name__: builder
    for builder in (
        tensor_of_one_value,
        packed_tensor_of_one_value,
        packed_float_attributes,
        packed_integer_attributes,
        constants_of_64_values,
        attributes_of_64_values,
        long_name,
        inputs_of_one_operator,
        empty_graphs,
        tiny_tensors,
        metadata_of_wide_characters,
        unpacked_values,
        unused_dimensions,
        unused_sequence,
    )
}
