"""Reads the graph and the metadata of an ONNX file without a session and without copying its weights.

It rejects malformed files. Whether a model may be loaded, `shared.ml.model_checks` decides.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from shared.errors import InvalidModel
from shared.ml.onnx_proto import (
    BITS_PER_VALUE,
    ELEM_TYPE_NAMES,
    NUMERIC_DATA_FIELDS,
    AttributeProto,
    DataType,
    Dimension,
    GraphProto,
    ModelProto,
    NodeProto,
    StringStringEntryProto,
    TensorProto,
    TensorShapeProto,
    TypeProto,
    TypeProtoTensor,
    ValueInfoProto,
)
from shared.ml.output_layout import TensorInfo
from shared.ml.protobuf_reader import (
    LEN,
    FieldValue,
    ProtobufReader,
    decode_text,
    repeated_int64s,
    to_int64,
    unpack_float32s,
)

MAX_FIELDS: Final = 400_000
MAX_NODES: Final = 20_000  # the largest exports of the YOLO family have about 3,000
MAX_DEPTH: Final = 8  # of graphs in graphs
MAX_READ_VALUES: Final = 64  # the values of a constant with more are not read
MAX_TENSOR_VALUES: Final = 2**40  # no file holds as many

_SPARSE_TENSORS: Final = "The model has sparse tensors: export it with dense tensors"
_GRAPH_MESSAGES: Final = frozenset(
    (GraphProto.NODE, GraphProto.INITIALIZER, GraphProto.INPUT, GraphProto.SPARSE_INITIALIZER)
)
_NODE_STRINGS: Final = (NodeProto.INPUT, NodeProto.OUTPUT, NodeProto.NAME, NodeProto.OP_TYPE, NodeProto.DOMAIN)


@dataclass(slots=True, eq=False)
class Constant:
    """A tensor that the file contains.

    `values` are known of up to `MAX_READ_VALUES` int64 or float32 numbers, and None otherwise.
    """

    name: str
    count: int
    values: tuple[float, ...] | None = None
    is_16_bit: bool = False


@dataclass(slots=True, eq=False)
class Node:
    """An operator of a graph.

    The domain "" is ONNX's own. `constant` is the value of a Constant.
    """

    name: str
    op_type: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    subgraphs: tuple[Graph, ...]
    constant: Constant | None
    attribute_numbers: dict[str, tuple[float, ...]]

    def __str__(self) -> str:
        name = self.name or (self.outputs[0] if self.outputs else "")
        return f"{self.op_type[:64]} {name[:64]!r}"


@dataclass(slots=True, eq=False)
class Graph:
    """The nodes in the file's order, the initializers by name, and the inputs that are no initializers."""

    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, Constant] = field(default_factory=dict)
    inputs: list[TensorInfo] = field(default_factory=list)

    def all_nodes(self) -> Generator[Node]:
        """Yield the nodes of this graph and of all its subgraphs."""
        for node in self.nodes:
            yield node
            for subgraph in node.subgraphs:
                yield from subgraph.all_nodes()


def read_onnx(data: bytes) -> tuple[Graph, dict[str, str]]:
    """Read the graph and the metadata of an ONNX file.

    Raises:
        InvalidModel: The file is malformed, exceeds a limit or uses what is never supported.
    """
    return _OnnxReader().read_model(memoryview(data))


class _OnnxReader:
    """Reads one file, and counts its protobuf fields and nodes against the limits."""

    def __init__(self) -> None:
        self._protobuf = ProtobufReader(MAX_FIELDS)
        self._node_count = 0

    def read_model(self, data: memoryview) -> tuple[Graph, dict[str, str]]:
        graph: Graph | None = None
        metadata = {}
        for number, (wire_type, _, value) in self._protobuf.fields(data):
            if number == ModelProto.GRAPH:
                if graph is not None or wire_type != LEN:
                    raise InvalidModel("The file must contain exactly one graph")
                graph = self._read_graph(value, 1)
            elif number == ModelProto.METADATA_PROPS and wire_type == LEN:
                key, text = self._read_entry(value)
                metadata[key] = text
            elif number == ModelProto.FUNCTIONS:
                raise InvalidModel("The file has model-local functions: export it with all functions inlined")
        if graph is None:
            raise InvalidModel("The file is not an ONNX model: it has no graph")
        return graph, metadata

    def _read_graph(self, data: memoryview, depth: int) -> Graph:
        if depth > MAX_DEPTH:
            raise InvalidModel(f"The file nests graphs more than {MAX_DEPTH} deep, the limit")
        graph = Graph()
        inputs: list[TensorInfo] = []
        for number, (wire_type, _, value) in self._protobuf.fields(data):
            if number in _GRAPH_MESSAGES and wire_type != LEN:
                raise InvalidModel("The file is not an ONNX model: its graph is damaged")
            if number == GraphProto.NODE:
                graph.nodes.append(self._read_node(value, depth))
            elif number == GraphProto.INITIALIZER:
                constant = self._read_tensor(value)
                graph.constants[constant.name] = constant
            elif number == GraphProto.INPUT:
                inputs.append(self._read_input(value))
            elif number == GraphProto.SPARSE_INITIALIZER:
                raise InvalidModel(_SPARSE_TENSORS)
        graph.inputs = [each for each in inputs if each.name not in graph.constants]
        return graph

    def _read_node(self, data: memoryview, depth: int) -> Node:
        self._node_count += 1
        if self._node_count > MAX_NODES:
            raise InvalidModel(f"The model has more than {MAX_NODES} operators, the limit")
        strings: dict[int, list[str]] = {number: [] for number in _NODE_STRINGS}
        subgraphs: list[Graph] = []
        constant: Constant | None = None
        attribute_numbers: dict[str, tuple[float, ...]] = {}
        for number, (wire_type, _, value) in self._protobuf.fields(data):
            if number in strings and wire_type == LEN:
                strings[number].append(decode_text(value))
            elif number == NodeProto.ATTRIBUTE:
                name, numbers, tensor, graphs = self._read_attribute(value, depth)
                subgraphs += graphs
                constant = tensor or constant
                if numbers:
                    attribute_numbers[name] = numbers
        last = (strings[number][-1:] for number in (NodeProto.NAME, NodeProto.OP_TYPE, NodeProto.DOMAIN))
        name, op_type, domain = map("".join, last)
        if op_type != "Constant":
            constant = None  # only a Constant outputs its tensor attribute; a ConstantOfShape repeats it
        elif constant is None:
            numbers = next(iter(attribute_numbers.values()), ())
            # Without numbers it is made of strings, of which models of images have no need: assume the worst.
            constant = Constant("", len(numbers) or MAX_TENSOR_VALUES, numbers or None)
        return Node(
            name,
            op_type,
            domain,
            tuple(strings[NodeProto.INPUT]),
            tuple(strings[NodeProto.OUTPUT]),
            tuple(subgraphs),
            constant,
            attribute_numbers,
        )

    def _read_attribute(
        self, data: memoryview, depth: int
    ) -> tuple[str, tuple[float, ...], Constant | None, list[Graph]]:
        """Return an attribute's name, numbers, first tensor and graphs."""
        fields = self._protobuf.fields_by_number(data)
        if fields.keys() & {AttributeProto.SPARSE_TENSOR, AttributeProto.SPARSE_TENSORS}:
            raise InvalidModel(_SPARSE_TENSORS)
        if max(len(fields[AttributeProto.T]), len(fields[AttributeProto.G])) > 1:
            raise InvalidModel("The file is not an ONNX model: an attribute has a duplicate value")
        numbers: list[float] = []
        for number in (AttributeProto.I, AttributeProto.INTS):
            numbers += map(float, repeated_int64s(fields[number], MAX_FIELDS))
        for value in _bytes_of(fields, AttributeProto.F, AttributeProto.FLOATS):
            numbers += unpack_float32s(value)
        tensors = [self._read_tensor(each) for each in _bytes_of(fields, AttributeProto.T, AttributeProto.TENSORS)]
        graphs = [
            self._read_graph(each, depth + 1)
            for each in _bytes_of(fields, AttributeProto.G, AttributeProto.GRAPHS)
        ]
        return _last_text(fields[AttributeProto.NAME]), tuple(numbers), tensors[0] if tensors else None, graphs

    def _read_tensor(self, data: memoryview) -> Constant:
        """Check that the file holds as many values as the tensor's shape declares, without creating the tensor."""
        fields = self._protobuf.fields_by_number(data)
        name = _last_text(fields[TensorProto.NAME])
        locations = [location for _, location, _ in fields[TensorProto.DATA_LOCATION]]
        if fields[TensorProto.EXTERNAL_DATA] or any(locations):
            raise InvalidModel(
                "The model's weights are in another file: export it with all weights inside the .onnx file"
            )
        if fields[TensorProto.SEGMENT]:
            raise InvalidModel("The file is not an ONNX model: a tensor is split into segments")
        count = _value_count(name, repeated_int64s(fields[TensorProto.DIMS], MAX_READ_VALUES))
        dtype = fields[TensorProto.DATA_TYPE][-1][1] if fields[TensorProto.DATA_TYPE] else 0
        raw_fields = fields[TensorProto.RAW_DATA]
        raw = raw_fields[-1][2] if raw_fields and dtype != DataType.STRING else None
        if raw is None:  # a value that is not raw takes at least one byte
            stored = sum(max(len(value), 1) for value in _bytes_of(fields, *NUMERIC_DATA_FIELDS))
            stored += len(fields[TensorProto.STRING_DATA])
        else:
            stored = len(raw) * 8 // BITS_PER_VALUE.get(dtype, 2)
        if count > stored:
            raise InvalidModel(f"The tensor {name[:64]!r} declares {count} values; the file contains {stored}")
        values = _read_values(dtype, raw, fields[TensorProto.INT64_DATA]) if count <= MAX_READ_VALUES else None
        return Constant(name, count, values, BITS_PER_VALUE.get(dtype) == 16)

    def _read_input(self, data: memoryview) -> TensorInfo:
        """Return an input of the graph; dtype and shape are empty if it is no tensor."""
        name, dtype, shape = "", "", None
        for number, (_, _, value) in self._protobuf.fields(data):
            if number == ValueInfoProto.NAME:
                name = decode_text(value)
            elif number == ValueInfoProto.TYPE:
                for type_number, (_, _, tensor_type) in self._protobuf.fields(value):
                    if type_number == TypeProto.TENSOR_TYPE:
                        dtype, shape = self._read_tensor_type(tensor_type)
        return TensorInfo(name, dtype, tuple(shape or ()))

    def _read_tensor_type(self, data: memoryview) -> tuple[str, list[int | None]]:
        dtype, shape = "", []
        for number, (_, integer, value) in self._protobuf.fields(data):
            if number == TypeProtoTensor.ELEM_TYPE:
                dtype = ELEM_TYPE_NAMES.get(integer, "other")
            elif number == TypeProtoTensor.SHAPE:
                for shape_number, (_, _, dimension) in self._protobuf.fields(value):
                    if shape_number == TensorShapeProto.DIM:
                        shape.append(self._read_dimension(dimension))
        return dtype, shape

    def _read_dimension(self, data: memoryview) -> int | None:
        size: int | None = None
        for number, (_, integer, _) in self._protobuf.fields(data):
            if number == Dimension.DIM_VALUE:
                size = to_int64(integer)
        return size if size is not None and size > 0 else None

    def _read_entry(self, data: memoryview) -> tuple[str, str]:
        texts = {number: decode_text(value) for number, (_, _, value) in self._protobuf.fields(data)}
        return texts.get(StringStringEntryProto.KEY, ""), texts.get(StringStringEntryProto.VALUE, "")


def _bytes_of(fields: Mapping[int, list[FieldValue]], *numbers: int) -> list[memoryview]:
    return [value for number in numbers for _, _, value in fields[number]]


def _last_text(values: list[FieldValue]) -> str:
    return decode_text(values[-1][2]) if values else ""


def _value_count(name: str, dims: list[int]) -> int:
    count = 1
    for size in dims:
        count *= size
        if size < 0 or count > MAX_TENSOR_VALUES or len(dims) >= MAX_READ_VALUES:
            raise InvalidModel(f"The tensor {name[:64]!r} has an invalid shape: {str(dims)[:100]}")
    return count


def _read_values(dtype: int, raw: memoryview | None, int64_data: list[FieldValue]) -> tuple[float, ...] | None:
    """Return the values of an int64 or float32 tensor: shapes, sizes and scales have no other type."""
    if raw is not None and dtype == DataType.INT64:
        return tuple(float(each) for each in np.frombuffer(raw[: len(raw) // 8 * 8], "<i8"))
    if raw is not None and dtype == DataType.FLOAT:
        return tuple(unpack_float32s(raw))
    return tuple(map(float, repeated_int64s(int64_data, MAX_READ_VALUES))) or None
