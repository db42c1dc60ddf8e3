"""What stands in an ONNX file, read without a session and without copying its weights. It judges nothing but form.

Field numbers are those of onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from shared.errors import InvalidModel
from shared.ml.output_layout import TensorInfo
from shared.ml.protobuf_reader import BYTES, Part, Reader, packed, signed, text

MAX_FIELDS: Final = 400_000
MAX_NODES: Final = 20_000  # the largest exports of the family have some 3,000
MAX_DEPTH: Final = 8  # of graphs in graphs
_SMALL: Final = 64  # of a constant with up to so many values the values are read
_MOST: Final = 2**40  # values of a tensor: no file holds as many

_BITS: Final = {1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 16: 16}
_FLOAT: Final = 1
_STRING: Final = 8
_TYPED: Final = (4, 5, 7, 10, 11)  # the fields of a tensor's values, other than raw bytes and texts
_INT64: Final = 7
_TYPES: Final = {1: "tensor(float)", 10: "tensor(float16)"}


@dataclass(frozen=True, slots=True)
class Constant:
    """A tensor of the file: how many values it has, if they are few numbers which, and if they are halves."""

    name: str
    count: int
    values: tuple[float, ...] | None = None
    half: bool = False


@dataclass(frozen=True, slots=True)
class Node:
    """An operator. `domain` "" is ONNX's own; `sizes` are the numbers of its attributes, by their names."""

    name: str
    kind: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    graphs: tuple[Graph, ...] = ()
    value: Constant | None = None
    sizes: dict[str, tuple[float, ...]] = field(default_factory=dict)

    def __str__(self) -> str:
        name = self.name or (self.outputs[0] if self.outputs else "")
        return f"{self.kind[:64]} {name[:64]!r}"


@dataclass(slots=True)
class Graph:
    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, Constant] = field(default_factory=dict)
    inputs: list[TensorInfo] = field(default_factory=list)

    def all_nodes(self) -> Generator[Node]:
        """Its nodes and those of the graphs in them."""
        for node in self.nodes:
            yield node
            for inner in node.graphs:
                yield from inner.all_nodes()


@dataclass(slots=True)
class OnnxFile:
    graph: Graph
    metadata: dict[str, str]


def read_onnx(data: bytes) -> OnnxFile:
    """Read a file's graph.

    Raises:
        InvalidModel: it is none, or has what is never served, or is larger than any graph has need to be.
    """
    return _File().read(memoryview(data))


class _File:
    """One file while it is read; counts what is in it."""

    def __init__(self) -> None:
        self._reader = Reader(MAX_FIELDS)
        self._nodes = 0

    def read(self, data: memoryview) -> OnnxFile:
        graph: Graph | None = None
        metadata = {}
        for number, (kind, _, value) in self._reader.fields(data):
            if number == 7:
                if graph is not None or kind != BYTES:
                    raise InvalidModel("The file has not one graph")
                graph = self._graph(value, 1)
            elif number == 14 and kind == BYTES:
                key, said = self._pair(value)
                metadata[key] = said
            elif number == 25:
                raise InvalidModel("The file has functions of its own: export it with all of them inlined")
        if graph is None:
            raise InvalidModel("The file is not an ONNX model: it has no graph")
        return OnnxFile(graph, metadata)

    def _graph(self, data: memoryview, depth: int) -> Graph:
        if depth > MAX_DEPTH:
            raise InvalidModel(f"The file has graphs in graphs more than {MAX_DEPTH} deep")
        graph = Graph()
        inputs: list[TensorInfo] = []
        for number, (kind, _, value) in self._reader.fields(data):
            if number in {1, 5, 11, 15} and kind != BYTES:
                raise InvalidModel("The file is not an ONNX model: its graph is damaged")
            if number == 1:
                graph.nodes.append(self._node(value, depth))
            elif number == 5:
                constant = self._tensor(value)
                graph.constants[constant.name] = constant
            elif number == 11:
                inputs.append(self._input(value))
            elif number == 15:
                raise _sparse()
        graph.inputs = [each for each in inputs if each.name not in graph.constants]
        return graph

    def _node(self, data: memoryview, depth: int) -> Node:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise InvalidModel(f"The model has more than {MAX_NODES} operators")
        strings: dict[int, list[str]] = {1: [], 2: [], 3: [], 4: [], 7: []}
        graphs: list[Graph] = []
        constant: Constant | None = None
        sizes: dict[str, tuple[float, ...]] = {}
        for number, (kind, _, value) in self._reader.fields(data):
            if number in strings and kind == BYTES:
                strings[number].append(text(value))
            elif number == 5:
                name, numbers, found, inner = self._attribute(value, depth)
                graphs += inner
                constant = found or constant
                if numbers:
                    sizes[name] = numbers
        name, kind_of, domain = ("".join(strings[number][-1:]) for number in (3, 4, 7))
        if kind_of != "Constant":
            constant = None  # the value that a ConstantOfShape repeats, for example
        elif constant is None:
            numbers = next(iter(sizes.values()), ())  # no numbers: texts, which no image needs
            constant = Constant("", len(numbers) or _MOST, numbers or None)
        return Node(name, kind_of, domain, tuple(strings[1]), tuple(strings[2]), tuple(graphs), constant, sizes)

    def _attribute(
        self, data: memoryview, depth: int
    ) -> tuple[str, tuple[float, ...], Constant | None, list[Graph]]:
        """Its name, its numbers, its tensor and its graphs."""
        parts = self._reader.parts(data)
        if parts.keys() & {22, 23}:
            raise _sparse()
        if max(len(parts[5]), len(parts[6])) > 1:
            raise InvalidModel("The file is not an ONNX model: an attribute of it is there twice")
        name = "".join(text(value) for _, _, value in parts[1][-1:])
        numbers = [float(each) for number in (3, 8) for each in _integers(parts[number])]
        numbers += [float(each) for number in (2, 7) for _, _, value in parts[number] for each in _floats(value)]
        tensors = [self._tensor(value) for number in (5, 10) for _, _, value in parts[number]]
        graphs = [self._graph(value, depth + 1) for number in (6, 11) for _, _, value in parts[number]]
        return name, tuple(numbers), tensors[0] if tensors else None, graphs

    def _tensor(self, data: memoryview) -> Constant:
        """Check that its bytes are here, as many as its shape says; nothing of that size is made."""
        parts = self._reader.parts(data)
        name = "".join(text(value) for _, _, value in parts[8][-1:])
        if parts[13] or any(place for _, place, _ in parts[14]):
            raise InvalidModel(
                "The model's weights lie in another file: export it with all of them in the .onnx file"
            )
        if parts[3]:
            raise InvalidModel("The file is not an ONNX model: a tensor of it is in segments")
        dims = _integers(parts[1], _SMALL)
        count = _count(name, dims)
        dtype = parts[2][-1][1] if parts[2] else 0
        raw = parts[9][-1][2] if parts[9] and dtype != _STRING else None
        if raw is None:  # a byte at least for each value that is not raw
            held = sum(max(len(value), 1) for number in _TYPED for _, _, value in parts[number]) + len(parts[6])
        else:
            held = len(raw) * 8 // _BITS.get(dtype, 2)
        if count > held:
            raise InvalidModel(f"The tensor {name[:64]!r} says it has {count} values; the file holds {held}")
        return Constant(
            name, count, _values(dtype, raw, parts[7]) if count <= _SMALL else None, _BITS.get(dtype) == 16
        )

    def _input(self, data: memoryview) -> TensorInfo:
        """A graph's input; of what is no tensor the type and shape are empty."""
        name, dtype, shape = "", "", None
        for number, (_, _, value) in self._reader.fields(data):
            if number == 1:
                name = text(value)
            elif number == 2:
                for kind_of, (_, _, tensor) in self._reader.fields(value):
                    if kind_of == 1:
                        dtype, shape = self._tensor_type(tensor)
        return TensorInfo(name, dtype, tuple(shape or ()))

    def _tensor_type(self, data: memoryview) -> tuple[str, list[int | None]]:
        dtype, shape = "", []
        for number, (_, integer, value) in self._reader.fields(data):
            if number == 1:
                dtype = _TYPES.get(integer, "other")
            elif number == 2:
                for place, (_, _, dimension) in self._reader.fields(value):
                    if place == 1:
                        size = [
                            signed(said) for which, (_, said, _) in self._reader.fields(dimension) if which == 1
                        ]
                        shape.append(size[-1] if size and size[-1] > 0 else None)
        return dtype, shape

    def _pair(self, data: memoryview) -> tuple[str, str]:
        said = {number: text(value) for number, (_, _, value) in self._reader.fields(data)}
        return said.get(1, ""), said.get(2, "")


def _integers(parts: list[Part], most: int = MAX_FIELDS) -> list[int]:
    """The first of a repeated integer, whether its values are packed or not: up to about `most`."""
    values: list[int] = []
    for kind, integer, value in parts:
        if len(values) < most:
            values += packed(value, most) if kind == BYTES else [signed(integer)]
    return values


def _floats(value: memoryview) -> list[float]:
    return [float(each) for each in np.frombuffer(value[: len(value) // 4 * 4], "<f4")]


def _count(name: str, dims: list[int]) -> int:
    """How many values a tensor of that shape has."""
    count = 1
    for size in dims:
        count *= size
        if size < 0 or count > _MOST or len(dims) >= _SMALL:
            raise InvalidModel(f"The tensor {name[:64]!r} has a shape that is none: {str(dims)[:100]}")
    return count


def _values(dtype: int, raw: memoryview | None, integers: list[Part]) -> tuple[float, ...] | None:
    """Those of a tensor of int64 or float32; shapes, sizes and scales are nothing else."""
    if raw is not None and dtype == _INT64:
        return tuple(float(each) for each in np.frombuffer(raw[: len(raw) // 8 * 8], "<i8"))
    if raw is not None and dtype == _FLOAT:
        return tuple(_floats(raw))
    return tuple(map(float, _integers(integers, _SMALL))) or None


def _sparse() -> InvalidModel:
    return InvalidModel("The model has sparse tensors: export it with dense ones")
