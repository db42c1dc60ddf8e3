"""Which files may become a session: decided from what stands in them, before anything is made of them.

What a file makes at run time, nobody knows before: memory and time of runs are bounded in `shared.ml.bounded_run`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from shared.config import MODEL_DOMAINS
from shared.errors import InvalidModel
from shared.ml.onnx_graph import Constant, Graph, Node, read_onnx
from shared.ml.output_layout import TensorInfo

MAX_VALUES: Final = 2**27  # that an operator is told to make: half a gigabyte of floats
FOLDED_BYTES: Final = 64 * 2**20  # that constants may become while a session is made, beyond four times the file

# Operators that make as much as a constant tells them to: the place of that input, and attributes.
_SIZED: Final[Mapping[str, tuple[tuple[int, ...], tuple[str, ...]]]] = {
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


def _named(kinds: str) -> frozenset[str]:
    return frozenset(kinds.split())


# Of constants, these make no more values than they are given …
_KEEPING: Final = _named(
    "Abs Cast CastLike Ceil Clip Concat Cos CumSum Dropout Erf Exp Flatten Floor Identity Log Neg Not "
    "Reciprocal Relu Reshape Round Shape Sigmoid Sign Sin Slice Softmax Split Sqrt Squeeze Tanh Transpose "
    "Unsqueeze ReduceMax ReduceMin ReduceMean ReduceProd ReduceSum DequantizeLinear QuantizeLinear"
)
# … and these one for each pair, or triple, at most.
_PAIRING: Final = _named(
    "Add And Div Equal Gather Greater GreaterOrEqual Less LessOrEqual Max Min Mod Mul Or Pow Sub Where Xor"
)
_SHAPE: Final = 64  # values, more dimensions than any tensor has
_LARGEST: Final = 8  # bytes of a value
_NODE_BYTES: Final = 8192  # that a session keeps for an operator, measured


@dataclass(frozen=True, slots=True)
class CheckedModel:
    """A file that may be loaded.

    `foldable`: what ONNX Runtime computes beforehand from its constants is known to be small. `weight`: about how
    many bytes its session will keep. `inputs` and `metadata` are as the file says.
    """

    constant_folding_allowed: bool
    size_bytes: int
    inputs: tuple[TensorInfo, ...]
    metadata: Mapping[str, str]


def check_model(data: bytes, *, domains: Collection[str] = MODEL_DOMAINS) -> CheckedModel:
    """Judge a file; `domains` are the operators' that it may use, ONNX's own ("ai.onnx") by that name.

    Raises:
        InvalidModel: it may not be loaded; the sentence says why.
    """
    file = read_onnx(data)
    nodes = list(file.graph.all_nodes())
    for node in nodes:
        if (node.domain or "ai.onnx") not in domains:
            raise InvalidModel(
                f"The operator {node} is of {node.domain[:64]!r}; served are those of {', '.join(domains)}"
            )
    _refuse_absurd(file.graph, {})
    counted = _Folding(FOLDED_BYTES + 4 * len(data))
    halves = sum(2 * each.count for each in file.graph.constants.values() if each.half)  # kept as floats
    return CheckedModel(
        counted.all_small(file.graph, {}),
        len(data) + halves + _NODE_BYTES * len(nodes),
        tuple(file.graph.inputs),
        file.metadata,
    )


def _refuse_absurd(graph: Graph, outer: Mapping[str, Constant]) -> None:
    """No operator may be told by a constant to make more than `MAX_VALUES`."""
    known = {**outer, **graph.constants}
    for node in graph.nodes:
        if node.value:
            known |= dict.fromkeys(node.outputs[:1], node.value)
        places, attributes = _SIZED.get(node.kind, ((), ()))
        given = [
            known[node.inputs[at]].values for at in places if at < len(node.inputs) and node.inputs[at] in known
        ]
        for numbers in (*given, *(node.sizes.get(name) for name in attributes)):
            made = math.prod(max(1.0, abs(each)) for each in numbers or ())
            if not made <= MAX_VALUES:
                raise InvalidModel(
                    f"The operator {node} is told to make {made:.3g} times what it is given, or as many values; "
                    f"up to {MAX_VALUES} are served"
                )
        for inner in node.graphs:
            _refuse_absurd(inner, known)


class _Folding:
    """Adds up what constants may become. Exact sizes are not needed: too much only costs speed."""

    def __init__(self, most_bytes: int) -> None:
        self._left = most_bytes // _LARGEST

    def all_small(self, graph: Graph, outer: Mapping[str, int]) -> bool:
        """Whether everything that is computed of constants alone is bounded, and small together.

        Nodes are taken in the file's order, which ONNX wants to be one in which they could run.
        """
        counts = dict(outer) | {name: each.count for name, each in graph.constants.items()}
        made = {name for node in graph.nodes for name in node.outputs}
        for node in graph.nodes:
            made.difference_update(node.outputs)
            if not made.isdisjoint(node.inputs):
                return False  # out of order
            if node.value:
                counts |= dict.fromkeys(node.outputs, node.value.count)
            elif all(name in counts for name in node.inputs if name) or node.kind == "Shape":
                most = _most(node, counts)
                if most is None or most * len(node.outputs) > self._left:
                    return False
                self._left -= most * len(node.outputs)
                counts |= dict.fromkeys(node.outputs, most)
            elif not all(self.all_small(inner, counts) for inner in node.graphs):
                return False
        return True


def _most(node: Node, counts: Mapping[str, int]) -> int | None:
    """How many values it makes of constants at most; None: that is not said here."""
    if node.kind == "Shape":
        return _SHAPE
    given = [counts[name] for name in node.inputs if name]
    if node.kind in _KEEPING and given:
        return max(sum(given), 1)
    return math.prod(max(each, 1) for each in given) if node.kind in _PAIRING else None
