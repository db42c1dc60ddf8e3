"""Builds graphs that no exporter writes; `testing.hostile_models` says what is wrong with each."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from shared.ml import onnx_proto
from shared.ml.protobuf_reader import LEN
from testing import models

Constants = Mapping[str, npt.ArrayLike]

TWO_GB_SHAPE = (500, 1000, 1000)  # of float32
_ANSWER = np.zeros((1, 6, 84), np.float32)
_IMAGES = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 64, 64])
_OUTPUT = helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 6, 84])
_METADATA = {"task": "detect", "names": "{0: 'plant', 1: 'tray'}"}


def node(op_type: str, inputs: str, outputs: str, **attributes: Any) -> onnx.NodeProto:
    """Return a node whose inputs and outputs are separated by spaces; it has the name of its outputs."""
    return helper.make_node(op_type, inputs.split(), outputs.split(), name=outputs, **attributes)


def model_proto(
    nodes: Sequence[onnx.NodeProto],
    constants: Constants | None = None,
    *,
    image: onnx.ValueInfoProto = _IMAGES,
    metadata: dict[str, str] | None = None,
) -> onnx.ModelProto:
    """Return a detect model of `nodes`, which may read "images" and "answer" and must write "output0"."""
    arrays = {"answer": _ANSWER} | {name: np.asarray(value) for name, value in (constants or {}).items()}
    graph = helper.make_graph(
        nodes,
        "hostile",
        [image],
        [_OUTPUT],
        [numpy_helper.from_array(value, name) for name, value in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, _METADATA if metadata is None else metadata)
    return model


def model_bytes(
    nodes: Sequence[onnx.NodeProto],
    constants: Constants | None = None,
    *,
    image: onnx.ValueInfoProto = _IMAGES,
    metadata: dict[str, str] | None = None,
) -> bytes:
    return bytes(model_proto(nodes, constants, image=image, metadata=metadata).SerializeToString())


def depending_on(tensor: str, *nodes: onnx.NodeProto, constants: Constants | None = None) -> bytes:
    """Return a model whose output depends on one value of `tensor`, which `nodes` compute."""
    output = [node("ReduceMax", tensor, "maximum", keepdims=0), node("Add", "answer maximum", "output0")]
    return model_bytes([*nodes, *output], constants)


def in_branches(*nodes: onnx.NodeProto, depth: int = 1) -> bytes:
    """Return a model that computes `nodes`, which write "big", in a branch of `depth` nested If nodes."""
    inner = [*nodes, node("ReduceMax", "big", "maximum0", keepdims=0)]
    for level in range(depth):
        branches = [
            helper.make_graph(body, "branch", [], [helper.make_tensor_value_info(name, TensorProto.FLOAT, [])])
            for body, name in (
                (inner, f"maximum{level}"),
                ([node("Identity", "zero", f"none{level}")], f"none{level}"),
            )
        ]
        inner = [node("If", "is_bright", f"maximum{level + 1}", then_branch=branches[0], else_branch=branches[1])]
    condition = [
        node("ReduceMax", "images", "brightness", keepdims=0),
        node("Greater", "brightness zero", "is_bright"),
    ]
    constants: Constants = {"zero": np.float32(0), "sizes": TWO_GB_SHAPE}
    return model_bytes([*condition, *inner, node("Add", f"answer maximum{depth}", "output0")], constants)


def with_external_data(owner: Literal["initializer", "constant", "branch"]) -> bytes:
    """Return a model with weights in another file: of an initializer, of a Constant, or of one in a branch."""
    if owner == "initializer":
        return models.detect(external="../tenant-002/detect.onnx")
    tensor = numpy_helper.from_array(np.zeros(1000, np.float32), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/etc/hostname"
    constant = node("Constant", "", "big", value=tensor)
    return depending_on("big", constant) if owner == "constant" else in_branches(constant)


def with_wrong_dims(dims: Sequence[int]) -> bytes:
    """Return a model with a tensor of four bytes that declares other dimensions."""
    nodes = [node("ReduceMax", "w", "maximum", keepdims=0), node("Add", "answer maximum", "output0")]
    model = model_proto(nodes, {"w": [0.0]})
    del model.graph.initializer[1].dims[:]
    model.graph.initializer[1].dims.extend(dims)
    return bytes(model.SerializeToString())


def with_sparse_initializer() -> bytes:
    model = model_proto([node("Identity", "answer", "output0")])
    values = numpy_helper.from_array(np.ones(1, np.float32), "w")
    indices = numpy_helper.from_array(np.zeros(1, np.int64), "i")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [2**31]))
    return bytes(model.SerializeToString())


def with_functions() -> bytes:
    """Return a model whose functions each call the next one twice: 2**30 operators once they are inlined."""
    model = model_proto([helper.make_node("f0", ["answer"], ["output0"], domain="own")])
    for level in range(30):
        calls = [helper.make_node(f"f{level + 1}", ["x"], [each], domain="own") for each in ("a", "b")]
        body = [*calls, helper.make_node("Add", ["a", "b"], ["y"])]
        model.functions.append(
            helper.make_function("own", f"f{level}", ["x"], ["y"], body, [helper.make_opsetid("", 17)])
        )
    return bytes(model.SerializeToString())


def with_two_graphs() -> bytes:
    """Return a model with two graphs, which protobuf merges and other readers may not."""
    return models.detect() + model_bytes([node("ConstantOfShape", "s", "x")])


def with_two_branch_graphs() -> bytes:
    """Return a model whose attribute `then_branch` has two graphs, which protobuf merges."""
    branch = helper.make_graph([node("Identity", "answer", "x")], "b", [], [_OUTPUT]).SerializeToString()
    attribute = onnx.AttributeProto(name="then_branch", type=onnx.AttributeProto.GRAPH).SerializeToString()
    attribute += 2 * encoded_field(onnx_proto.AttributeProto.G, branch)
    model = model_proto([node("If", "answer", "output0")])
    if_node = model.graph.node[0].SerializeToString() + encoded_field(onnx_proto.NodeProto.ATTRIBUTE, attribute)
    model.graph.ClearField("node")
    graph = model.graph.SerializeToString() + encoded_field(onnx_proto.GraphProto.NODE, if_node)
    model.ClearField("graph")
    return bytes(model.SerializeToString() + encoded_field(onnx_proto.ModelProto.GRAPH, graph))


def encoded_field(number: int, content: bytes) -> bytes:
    """Return an encoded protobuf field of bytes."""
    size, length = len(content), b""
    while size > 127:
        length, size = length + bytes([size & 127 | 128]), size >> 7
    return bytes([number << 3 | LEN]) + length + bytes([size]) + content


def with_foldable_constants(count: int = 40, values: int = 15_000_000) -> bytes:
    """Return a model with many different constants that are computed from constants: 2.4 GB if all are folded."""
    nodes = [
        node("ReduceMax", "images", "brightness", keepdims=0),
        node("Cast", "brightness", "index", to=TensorProto.INT64),
    ]
    last = "answer"
    for number in range(count):
        value = numpy_helper.from_array(np.array([number], np.float32))
        nodes.append(node("ConstantOfShape", "size", f"big{number}", value=value))
        nodes.append(node("Gather", f"big{number} index", f"one{number}"))
        nodes.append(node("Add", f"{last} one{number}", f"sum{number}" if number < count - 1 else "output0"))
        last = f"sum{number}"
    return model_bytes(nodes, {"size": np.array([values])})


def in_loop(*body: onnx.NodeProto, iterations: int = 2**62) -> bytes:
    """Return a model that repeats `body`, which computes "next" from "state", before it answers."""
    loop_body = helper.make_graph(
        [node("Identity", "condition", "continue"), *body],
        "body",
        [
            helper.make_tensor_value_info("iteration", TensorProto.INT64, []),
            helper.make_tensor_value_info("condition", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("continue", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, None),
        ],
    )
    loop = helper.make_node("Loop", ["iterations", "true", "initial"], ["last"], body=loop_body)
    initial = [node("ReduceMax", "images", "brightness", keepdims=0), node("Add", "answer brightness", "initial")]
    constants: Constants = {"true": np.array(True), "iterations": np.int64(iterations)}
    return depending_on("last", *initial, loop, constants=constants)


def growing_shapes(doublings: int = 40) -> bytes:
    """Return a model of 5 kB whose loading takes all memory: shape inference computes every Concat's values."""
    nodes = [node("Shape", "images", "sizes0")]
    nodes += [
        node("Concat", f"sizes{number} sizes{number}", f"sizes{number + 1}", axis=0) for number in range(doublings)
    ]
    return depending_on("big", *nodes, node("Cast", f"sizes{doublings}", "big", to=TensorProto.FLOAT))


def slow_operator(boxes: int = 1_000_000) -> bytes:
    """Return a model of 3 kB with a NonMaxSuppression of that many disjoint boxes: a million take ten minutes.

    ONNX Runtime cannot terminate a run within an operator. The boxes need 20 bytes each.
    """
    nodes = [
        node("ReduceMax", "images", "brightness", keepdims=0),
        node("Range", "zero count one", "index"),
        node("Unsqueeze", "index last_axis", "column"),
        node("Add", "column offsets", "corners"),
        node("Unsqueeze", "corners first_axis", "boxes"),
        node("Mul", "index brightness", "score"),
        node("Unsqueeze", "score first_axes", "scores"),
        node("NonMaxSuppression", "boxes scores count_limit", "selected"),
        node("Cast", "selected", "big", to=TensorProto.FLOAT),
    ]
    constants: Constants = {
        "zero": np.float32(0),
        "one": np.float32(1),
        "count": np.float32(boxes),
        "first_axis": np.array([0]),
        "first_axes": np.array([0, 1]),
        "last_axis": np.array([1]),
        "offsets": np.array([[0.0, 0.0, 0.5, 0.5]], np.float32),
        "count_limit": np.array([boxes]),
    }
    return depending_on("big", *nodes, constants=constants)
