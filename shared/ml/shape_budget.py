"""Bounds what shape inference keeps while ONNX Runtime loads a model.

Shape inference keeps the dimensions of every tensor, and the values of those that are computed from dimensions:
after Shape, Concat(x, x) doubles them, as often as a file repeats it. Each takes about 100 bytes.
(https://onnx.ai/onnx/repo-docs/ShapeInference.html)
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Final

from shared.errors import InvalidModel
from shared.ml.onnx_graph import Graph, Node
from shared.ml.onnx_tensor import Constant
from shared.runtime import deadline

MAX_SHAPE_VALUES: Final = 2**20  # exports have a few thousand
_UNKNOWN_RANK: Final = 64  # more dimensions than any tensor has


@dataclass(slots=True, eq=False)
class _Scope:
    """Upper bounds by the names of a graph's tensors and those of the graphs around it.

    `ranks` are numbers of dimensions; `shape_values` are numbers of values that are computed from dimensions.
    """

    constants: ChainMap[str, Constant] = field(default_factory=ChainMap)
    ranks: ChainMap[str, int] = field(default_factory=ChainMap)
    shape_values: ChainMap[str, int] = field(default_factory=ChainMap)

    def inner(self, graph: Graph, input_rank: int) -> _Scope:
        """Return the scope of a graph in this one. Its inputs have the declared rank, at least `input_rank`."""
        return _Scope(
            self.constants.new_child(dict(graph.constants)),
            self.ranks.new_child({each.name: max(len(each.shape), input_rank) for each in graph.inputs}),
            self.shape_values.new_child(),
        )

    def rank(self, name: str) -> int:
        return self.constants[name].rank if name in self.constants else self.ranks.get(name, 0)

    def value_count(self, name: str) -> int | None:
        """Return how many values a constant or a shape has, or None if it is neither."""
        return self.constants[name].count if name in self.constants else self.shape_values.get(name)


class ShapeBudget:
    """Adds up upper bounds of the dimensions, and of the values computed from them, of all tensors of a model."""

    def __init__(self) -> None:
        self._remaining = MAX_SHAPE_VALUES

    def check(self, graph: Graph) -> None:
        """Check that they fit `MAX_SHAPE_VALUES` together.

        Raises:
            InvalidModel: They do not.
            DeadlineExceeded: The event's deadline passed.
        """
        self._check(graph, _Scope(), 0)

    def _check(self, graph: Graph, outer: _Scope, input_rank: int) -> int:
        """Check a graph and those inside it, and return the largest rank of its tensors."""
        scope = outer.inner(graph, input_rank)
        largest = 0
        for node in _in_topological_order(graph.nodes):
            deadline.check()
            if node.constant:
                scope.constants.update(dict.fromkeys(node.outputs, node.constant))
                continue
            inputs_rank = _largest(scope.rank(name) for name in node.inputs)
            if node.subgraphs:  # a Scan adds a dimension to what its graph returns
                inner_ranks = [self._check(subgraph, scope, inputs_rank) for subgraph in node.subgraphs]
                rank = max(inputs_rank, *inner_ranks) + 1
            else:
                rank = _output_rank(node, scope, inputs_rank)
            values = _shape_value_count(node, scope)
            self._remaining -= (rank + (values or 0)) * len(node.outputs)
            if self._remaining < 0:
                raise InvalidModel(
                    f"The shapes of the model's tensors have more than {MAX_SHAPE_VALUES} values together, the "
                    f"limit, from the operator {node} on: export it without operators that repeat shapes"
                )
            scope.ranks.update(dict.fromkeys(node.outputs, rank))
            if values is not None:
                scope.shape_values.update(dict.fromkeys(node.outputs, values))
            largest = max(largest, rank)
        return largest


def _output_rank(node: Node, scope: _Scope, inputs_rank: int) -> int:
    """Return an upper bound of the dimensions of a node's outputs: as many as its inputs', if it is not known."""
    first, second = [*node.inputs, "", ""][:2]
    rank = inputs_rank
    match node.op_type:
        case "Unsqueeze":
            rank = scope.rank(first) + _size_count(node, scope, second, "axes", 1)
        case "Squeeze":
            rank = scope.rank(first) - _size_count(node, scope, second, "axes", 0)
        case "Gather" | "GatherND":
            rank = scope.rank(first) + scope.rank(second) - 1
        case "OneHot":
            rank = scope.rank(first) + 1
        case "Reshape":
            rank = _size_count(node, scope, second, "shape", inputs_rank)
        case "Expand":
            rank = max(inputs_rank, _size_count(node, scope, second, "shape", inputs_rank))
        case "ConstantOfShape":
            rank = _size_count(node, scope, first, "", _UNKNOWN_RANK)
        case "Einsum" if "equation" in node.attributes:
            rank = node.attributes["equation"].count
        case "Shape" | "Size":
            rank = 1
    return max(rank, 0)


def _size_count(node: Node, scope: _Scope, input_name: str, attribute_name: str, default: int) -> int:
    """Return how many axes or sizes an attribute or an input of a node has, or `default` if that is not known."""
    if attribute_name in node.attributes:
        return node.attributes[attribute_name].count
    count = scope.value_count(input_name)
    return default if count is None else count


def _shape_value_count(node: Node, scope: _Scope) -> int | None:
    """Return an upper bound of the values that shape inference computes for an output, or None without any."""
    if node.op_type == "Shape":
        return _largest(scope.rank(name) for name in node.inputs[:1])
    if not any(name in scope.shape_values for name in node.inputs):
        return None
    counts = [_shape_input_count(scope, name) for name in node.inputs]
    values = None
    match node.op_type:
        case "Concat":
            values = sum(counts)
        case "Cast" | "Identity" | "Slice" | "Squeeze" | "Unsqueeze":
            values = counts[0]
        case "Gather":
            values = _size_count(node, scope, "".join(node.inputs[1:2]), "", counts[0])
        case "Add" | "Div" | "Mul" | "Sub":
            values = max(counts)
    return values


def _shape_input_count(scope: _Scope, name: str) -> int:
    """Return how many values an input contributes to a shape: a constant that is none contributes nothing."""
    constant = scope.constants.get(name)
    if constant is not None:
        return constant.count if constant.is_shape else 0
    return scope.shape_values.get(name, 0)


def _in_topological_order(nodes: list[Node]) -> list[Node]:
    """Return the nodes in an order in which each follows those that compute its inputs, as ONNX requires it."""
    later = {name for node in nodes for name in node.outputs}
    for node in nodes:
        if not later.isdisjoint(node.inputs):
            return _sorted(nodes)
        later.difference_update(node.outputs)
    return nodes


def _sorted(nodes: list[Node]) -> list[Node]:
    producers: Mapping[str, int] = {name: index for index, node in enumerate(nodes) for name in node.outputs}
    dependencies = {
        index: {producers[name] for name in node.inputs if name in producers} for index, node in enumerate(nodes)
    }
    try:
        return [nodes[index] for index in TopologicalSorter(dependencies).static_order()]
    except CycleError as error:
        raise InvalidModel("The file is not an ONNX model: its operators need each other's outputs") from error


def _largest(numbers: Iterable[int]) -> int:
    return max(numbers, default=0)
