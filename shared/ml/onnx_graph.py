"""Reads the graph and the metadata of an ONNX file without a session and without copying its weights.

It rejects malformed files. Whether a model may be loaded, `shared.ml.model_checks` decides.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Final

from shared.errors import InvalidModel
from shared.ml.onnx_proto import (
    ELEM_TYPE_NAMES,
    AttributeProto,
    Dimension,
    GraphProto,
    ModelProto,
    NodeProto,
    StringStringEntryProto,
    TensorShapeProto,
    TypeProto,
    TypeProtoTensor,
    ValueInfoProto,
)
from shared.ml.onnx_tensor import MAX_TENSOR_VALUES, Constant, Numbers, read_tensor
from shared.ml.output_layout import TensorInfo
from shared.ml.protobuf_reader import LEN, ProtobufReader, to_int64
from shared.names import quoted

MAX_FIELDS: Final = 400_000
MAX_UNREAD_BYTES: Final = 2**20  # of rare messages, which ONNX Runtime parses to 70 times their size
MAX_NODES: Final = (
    20_000  # operators and the graphs inside them; the largest exports of the YOLO family have about 3,000
)
MAX_DEPTH: Final = 8  # of graphs in graphs

_SPARSE_TENSORS: Final = "The model has sparse tensors: export it with dense tensors"
_GRAPH_MESSAGES: Final = frozenset(
    (
        GraphProto.NODE,
        GraphProto.INITIALIZER,
        GraphProto.INPUT,
        GraphProto.OUTPUT,
        GraphProto.VALUE_INFO,
        GraphProto.SPARSE_INITIALIZER,
    )
)
_NODE_STRINGS: Final = (NodeProto.INPUT, NodeProto.OUTPUT, NodeProto.NAME, NodeProto.OP_TYPE, NodeProto.DOMAIN)

_NUMBER_DTYPES: Final = {  # of an attribute's numbers; varints have none
    AttributeProto.I: "",
    AttributeProto.INTS: "",
    AttributeProto.F: "<f4",
    AttributeProto.FLOATS: "<f4",
}


@dataclass(slots=True, eq=False)
class Node:
    """An operator of a graph.

    The domain "" is ONNX's own. `constant` is the value of a Constant. `attributes` are those with numbers.
    """

    name: str
    op_type: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    subgraphs: tuple[Graph, ...]
    constant: Constant | None
    attributes: dict[str, Numbers]

    def __str__(self) -> str:
        name = self.name or (self.outputs[0] if self.outputs else "")
        return f"{quoted(self.op_type)} {quoted(name)}"


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
        self._unread_bytes = 0

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
            elif number in {ModelProto.TRAINING_INFO, ModelProto.CONFIGURATION}:
                self._skip(value)
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
                constant = read_tensor(self._protobuf, value)
                graph.constants[constant.name] = constant
            elif number == GraphProto.INPUT:
                inputs.append(self._read_value_info(value))
            elif number in {GraphProto.OUTPUT, GraphProto.VALUE_INFO}:
                self._read_value_info(value)  # only to check it
            elif number == GraphProto.QUANTIZATION_ANNOTATION:
                self._skip(value)
            elif number == GraphProto.SPARSE_INITIALIZER:
                raise InvalidModel(_SPARSE_TENSORS)
        graph.inputs = [each for each in inputs if each.name not in graph.constants]
        return graph

    def _read_node(self, data: memoryview, depth: int) -> Node:
        self._count_node()
        strings: dict[int, list[str]] = {number: [] for number in _NODE_STRINGS}
        subgraphs: list[Graph] = []
        constant: Constant | None = None
        attributes: dict[str, Numbers] = {}
        for number, (wire_type, _, value) in self._protobuf.fields(data):
            if number in strings and wire_type == LEN:
                strings[number].append(self._protobuf.text(value))
            elif number == NodeProto.ATTRIBUTE:
                name, numbers, tensor, graphs = self._read_attribute(value, depth)
                subgraphs += graphs
                constant = tensor or constant
                if numbers.count:
                    attributes[name] = numbers
            elif number == NodeProto.DEVICE_CONFIGURATIONS:
                self._skip(value)
        last = (strings[number][-1:] for number in (NodeProto.NAME, NodeProto.OP_TYPE, NodeProto.DOMAIN))
        name, op_type, domain = map("".join, last)
        if op_type != "Constant":
            constant = None  # only a Constant outputs its tensor attribute; a ConstantOfShape repeats it
        elif constant is None:
            # Without numbers it is made of strings, of which models of images have no need: assume the worst.
            numbers = next(iter(attributes.values()), Numbers(MAX_TENSOR_VALUES, 1.0))
            constant = Constant("", numbers.count, numbers.product, is_shape=True)
        return Node(
            name,
            op_type,
            domain,
            tuple(strings[NodeProto.INPUT]),
            tuple(strings[NodeProto.OUTPUT]),
            tuple(subgraphs),
            constant,
            attributes,
        )

    def _read_attribute(self, data: memoryview, depth: int) -> tuple[str, Numbers, Constant | None, list[Graph]]:
        """Return an attribute's name, numbers, tensor and graphs."""
        name, numbers = "", Numbers()
        tensor: Constant | None = None
        graphs: list[Graph] = []
        has_graph = False
        for number, value in self._protobuf.fields(data):
            if number == AttributeProto.NAME:
                name = self._protobuf.text(value[2])
            elif number in _NUMBER_DTYPES:
                numbers.add_field(value, _NUMBER_DTYPES[number])
            elif number == AttributeProto.S:
                numbers.count += len(value[2])
            elif (number == AttributeProto.T and tensor) or (number == AttributeProto.G and has_graph):
                raise InvalidModel("The file is not an ONNX model: an attribute has a duplicate value")
            elif number in {AttributeProto.T, AttributeProto.TENSORS}:
                read = read_tensor(self._protobuf, value[2])
                tensor = read if number == AttributeProto.T else tensor
            elif number in {AttributeProto.G, AttributeProto.GRAPHS}:
                has_graph = has_graph or number == AttributeProto.G
                self._count_node()
                graphs.append(self._read_graph(value[2], depth + 1))
            elif number in {AttributeProto.TP, AttributeProto.TYPE_PROTOS}:
                self._skip(value[2])
            elif number in {AttributeProto.SPARSE_TENSOR, AttributeProto.SPARSE_TENSORS}:
                raise InvalidModel(_SPARSE_TENSORS)
        return name, numbers, tensor, graphs

    def _skip(self, data: memoryview) -> None:
        """Leave a message unread that may have messages inside, which are not counted then."""
        self._unread_bytes += len(data)
        if self._unread_bytes > MAX_UNREAD_BYTES:
            raise InvalidModel(
                f"The file has more than {MAX_UNREAD_BYTES} bytes, the limit, of types that are no tensors, "
                f"training information, device configurations or quantization annotations: export it without them"
            )

    def _count_node(self) -> None:
        self._node_count += 1
        if self._node_count > MAX_NODES:
            raise InvalidModel(f"The model has more than {MAX_NODES} operators, the limit")

    def _read_value_info(self, data: memoryview) -> TensorInfo:
        """Return an input or output of the graph; dtype and shape are empty if it is no tensor."""
        name, dtype, shape = "", "", None
        for number, (_, _, value) in self._protobuf.fields(data):
            if number == ValueInfoProto.NAME:
                name = self._protobuf.text(value)
            elif number == ValueInfoProto.TYPE:
                for type_number, (_, _, tensor_type) in self._protobuf.fields(value):
                    if type_number == TypeProto.TENSOR_TYPE:
                        dtype, shape = self._read_tensor_type(tensor_type)
                    else:
                        self._skip(tensor_type)
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
        for number, (_, integer, value) in self._protobuf.fields(data):
            if number == Dimension.DIM_VALUE:
                size = to_int64(integer)
            elif number == Dimension.DIM_PARAM:
                self._protobuf.text(value)  # only to check it
        return size if size is not None and size > 0 else None

    def _read_entry(self, data: memoryview) -> tuple[str, str]:
        texts = {number: self._protobuf.text(value) for number, (_, _, value) in self._protobuf.fields(data)}
        return texts.get(StringStringEntryProto.KEY, ""), texts.get(StringStringEntryProto.VALUE, "")
