"""Checks from an ONNX file alone whether it may be loaded, before ONNX Runtime allocates anything for it.

What a model allocates at run time cannot be known from its file: `shared.ml.bounded_run` limits time and memory of
runs.
"""

from __future__ import annotations

import math
from collections import ChainMap
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from shared.config import MODEL_DOMAINS, Config
from shared.errors import InvalidModel
from shared.ml.onnx_graph import Graph, Node, read_onnx
from shared.ml.onnx_tensor import MAX_SMALL_VALUES, MAX_TENSOR_VALUES, Constant
from shared.ml.output_layout import TensorInfo
from shared.ml.shape_budget import ShapeBudget
from shared.names import quoted

MAX_CONSTANT_OUTPUT_VALUES: Final = 2**27  # half a gigabyte of float32
MAX_FOLDED_BYTES: Final = 64 * 2**20  # that constant folding may create, beyond `_FOLDED_BYTES_PER_FILE_BYTE`
_FOLDED_BYTES_PER_FILE_BYTE: Final = 4

# Operators whose output is as large as a constant says: the indices of the inputs and the names of the attributes
# whose values are sizes or scales. (https://onnx.ai/onnx/operators)
_SIZE_FROM_CONSTANT_OPS: Final[Mapping[str, tuple[tuple[int, ...], tuple[str, ...]]]] = {
    "ConstantOfShape": ((0,), ()),
    "Expand": ((1,), ("shape",)),
    "Tile": ((1,), ("repeats",)),
    "Range": ((1,), ()),
    "OneHot": ((1,), ()),
    "Pad": ((1,), ("pads", "paddings")),
    "Resize": ((1, 2, 3), ()),
    "Upsample": ((1,), ("scales",)),
    "MaxUnpool": ((2,), ()),
    "ConvTranspose": ((), ("output_shape", "output_padding")),
    "CenterCropPad": ((1,), ()),
    "AffineGrid": ((1,), ()),
    "RandomUniform": ((), ("shape",)),
    "RandomNormal": ((), ("shape",)),
    "HannWindow": ((0,), ()),
    "HammingWindow": ((0,), ()),
    "BlackmanWindow": ((0,), ()),
}


def _op_types(names: str) -> frozenset[str]:
    return frozenset(names.split())


# Operators that output at most as many values as all their inputs have together.
_SHAPE_PRESERVING_OPS: Final = _op_types(
    "Abs Cast CastLike Ceil Clip Concat Cos CumSum Dropout Erf Exp Flatten Floor Identity Log Neg Not "
    "Reciprocal Relu Reshape Round Shape Sigmoid Sign Sin Slice Softmax Split Sqrt Squeeze Tanh Transpose "
    "Unsqueeze ReduceMax ReduceMin ReduceMean ReduceProd ReduceSum DequantizeLinear QuantizeLinear"
)
# Operators that output at most as many values as the product of their inputs' counts.
_BROADCASTING_OPS: Final = _op_types(
    "Add And Div Equal Gather Greater GreaterOrEqual Less LessOrEqual Max Min Mod Mul Or Pow Sub Where Xor"
)
_MAX_RANK: Final = 64  # more dimensions than any tensor has
_MAX_BYTES_PER_VALUE: Final = 8
_SESSION_BYTES_PER_NODE: Final = 8192  # measured


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModelLimits:
    """Limits of tenants' models.

    `max_bytes` is the size of a file, `max_run_s` the duration of one run. Operators must belong to `domains`, in
    which ONNX's own domain is called "ai.onnx".
    """

    max_bytes: int = 512 * 2**20
    max_run_s: float = 60.0
    domains: tuple[str, ...] = MODEL_DOMAINS

    @classmethod
    def of(cls, config: Config) -> ModelLimits:
        return cls(max_bytes=config.max_model_bytes, max_run_s=config.max_run_s, domains=config.model_domains)


@dataclass(slots=True, eq=False)
class CheckedModel:
    """What is known of a file that may be loaded.

    `constant_folding_allowed`: ONNX Runtime may fold constants, because the results are known to be small.
    `size_bytes`: an estimate of what its session keeps allocated. `inputs` and `metadata` are the file's.
    """

    constant_folding_allowed: bool
    size_bytes: int
    inputs: tuple[TensorInfo, ...]
    metadata: Mapping[str, str]


def check_model(data: bytes, *, domains: Collection[str] = MODEL_DOMAINS) -> CheckedModel:
    """Check an ONNX file whose operators may belong to `domains`; ONNX's own domain is called "ai.onnx".

    Raises:
        InvalidModel: The file may not be loaded; the message says why.
    """
    graph, metadata = read_onnx(data)
    nodes = list(graph.all_nodes())
    for node in nodes:
        if (node.domain or "ai.onnx") not in domains:
            raise InvalidModel(
                f"The operator {node} has the unsupported domain {quoted(node.domain)}; "
                f"supported domains: {', '.join(domains)}"
            )
    _reject_oversized_outputs(graph, ChainMap())
    ShapeBudget().check(graph)
    budget = ConstantFoldingBudget(MAX_FOLDED_BYTES + _FOLDED_BYTES_PER_FILE_BYTE * len(data))
    # ONNX Runtime keeps 16-bit weights as float32 on CPUs: two bytes more each.
    widened_bytes = sum(2 * each.count for each in graph.constants.values() if each.is_16_bit)
    return CheckedModel(
        budget.fits(graph, ChainMap()),
        len(data) + widened_bytes + _SESSION_BYTES_PER_NODE * len(nodes),
        tuple(graph.inputs),
        metadata,
    )


def _reject_oversized_outputs(graph: Graph, outer: ChainMap[str, Constant]) -> None:
    """Reject operators whose constant sizes request more than `MAX_CONSTANT_OUTPUT_VALUES`."""
    constants = outer.new_child(dict(graph.constants))
    for node in graph.nodes:
        if node.constant:
            constants.update(dict.fromkeys(node.outputs[:1], node.constant))
        indices, attributes = _SIZE_FROM_CONSTANT_OPS.get(node.op_type, ((), ()))
        inputs = [node.inputs[index] for index in indices if index < len(node.inputs)]
        from_inputs = [constants[name].size_product for name in inputs if name in constants]
        from_attributes = [node.attributes[name].product for name in attributes if name in node.attributes]
        for requested in (*from_inputs, *from_attributes):
            if requested == math.inf:
                raise InvalidModel(f"The operator {node} takes more than {MAX_SMALL_VALUES} sizes, the limit")
            if requested is not None and not requested <= MAX_CONSTANT_OUTPUT_VALUES:  # nor if it is NaN
                raise InvalidModel(
                    f"The operator {node} requests {requested:.3g} values, or scales its input by as much; "
                    f"the limit is {MAX_CONSTANT_OUTPUT_VALUES}"
                )
        for subgraph in node.subgraphs:
            _reject_oversized_outputs(subgraph, constants)


class ConstantFoldingBudget:
    """Adds up upper bounds of what constant folding may create.

    Exact sizes are not needed: if folding is disabled for a model that could afford it, its runs are only slower.
    """

    def __init__(self, max_bytes: int) -> None:
        self._remaining_values = max_bytes // _MAX_BYTES_PER_VALUE

    def fits(self, graph: Graph, outer_counts: ChainMap[str, int]) -> bool:
        """Return whether all that can be computed from constants is bounded, and fits the budget together.

        Nodes are read in the file's order, which must be topological, as ONNX requires. `outer_counts` are the
        value counts of the constants of enclosing graphs.
        """
        counts = outer_counts.new_child({name: each.count for name, each in graph.constants.items()})
        later_outputs = {name for node in graph.nodes for name in node.outputs}
        for node in graph.nodes:
            later_outputs.difference_update(node.outputs)
            if not later_outputs.isdisjoint(node.inputs):
                return False  # not in topological order
            if node.constant:
                counts.update(dict.fromkeys(node.outputs, node.constant.count))
            elif all(name in counts for name in node.inputs if name) or node.op_type == "Shape":
                max_values = max_output_values(node, counts)
                if max_values is None or max_values * len(node.outputs) > self._remaining_values:
                    return False
                self._remaining_values -= max_values * len(node.outputs)
                counts.update(dict.fromkeys(node.outputs, max_values))
            elif not all(self.fits(subgraph, counts) for subgraph in node.subgraphs):
                return False
        return True


def max_output_values(node: Node, counts: Mapping[str, int]) -> int | None:
    """Return an upper bound of the values of each output of a node of constants, or None if it is not known.

    `counts` has the value count of each constant input.
    """
    if node.op_type == "Shape":
        return _MAX_RANK
    input_counts = [counts[name] for name in node.inputs if name]
    if node.op_type in _SHAPE_PRESERVING_OPS and input_counts:
        return max(sum(input_counts), 1)
    if node.op_type in _BROADCASTING_OPS:
        product = 1
        for count in input_counts:
            product *= max(count, 1)
            if product > MAX_TENSOR_VALUES:  # it is beyond any budget, and not to grow with every input
                break
        return product
    return None
