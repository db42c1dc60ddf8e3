"""Graphs that nobody who means well would export; `testing.hostile_models` says what is wrong with each."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from testing import models

_ANSWER = np.zeros((1, 6, 84), np.float32)
_IMAGES = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 64, 64])
_OUTPUT = helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 6, 84])
_SAID = {"task": "detect", "names": "{0: 'plant', 1: 'tray'}"}
MANY = (500, 1000, 1000)  # 2 GB of floats


def node(kind, inputs, outputs, **attributes):
    return helper.make_node(kind, inputs.split(), outputs.split(), name=outputs, **attributes)


def proto(nodes, constants=(), *, image=_IMAGES, said=None, opset=17):
    """A model proto; `constants` by name, of numpy's types."""
    given = {"answer": _ANSWER} | {name: np.asarray(value) for name, value in dict(constants).items()}
    graph = helper.make_graph(
        nodes,
        "hostile",
        [image],
        [_OUTPUT],
        [numpy_helper.from_array(value, name) for name, value in given.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    helper.set_model_props(made, _SAID if said is None else said)
    return made


def data(*arguments, **options):
    return proto(*arguments, **options).SerializeToString()


def using(big, *nodes, constants=()):
    """A model whose answer depends on one value of `big`, which `nodes` make."""
    after = [node("ReduceMax", big, "most", keepdims=0), node("Add", "answer most", "output0")]
    return data([*nodes, *after], constants)


def in_a_branch(*nodes, depth=1):
    """`nodes`, which make "big", in the branch of an If in an If … that deep."""
    inner = [*nodes, node("ReduceMax", "big", "most0", keepdims=0)]
    for level in range(depth):
        branches = [
            helper.make_graph(body, "branch", [], [helper.make_tensor_value_info(name, TensorProto.FLOAT, [])])
            for body, name in (
                (inner, f"most{level}"),
                ([node("Identity", "zero", f"none{level}")], f"none{level}"),
            )
        ]
        inner = [node("If", "bright", f"most{level + 1}", then_branch=branches[0], else_branch=branches[1])]
    light = [
        node("ReduceMax", "images", "light", keepdims=0),
        node("Greater", "light zero", "bright"),
    ]
    constants = {"zero": np.float32(0), "many": MANY}
    return proto([*light, *inner, node("Add", f"answer most{depth}", "output0")], constants)


def outside(where):
    """Weights in another file: those of an initialiser, of a Constant, or of one in a branch."""
    if where == "an initialiser":
        return models.detect(external="../tenant-002/detect.onnx")
    tensor = numpy_helper.from_array(np.zeros(1000, np.float32), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/etc/hostname"
    constant = node("Constant", "", "big", value=tensor)
    if where == "a constant":
        return using("big", constant)
    return in_a_branch(constant).SerializeToString()


def lying(dims):
    """A tensor of four bytes that says it is larger."""
    made = proto([node("ReduceMax", "w", "most", keepdims=0), node("Add", "answer most", "output0")], {"w": [0.0]})
    del made.graph.initializer[1].dims[:]
    made.graph.initializer[1].dims.extend(dims)
    return made.SerializeToString()


def sparse():
    made = proto([node("Identity", "answer", "output0")])
    values = numpy_helper.from_array(np.ones(1, np.float32), "w")
    indices = numpy_helper.from_array(np.zeros(1, np.int64), "i")
    made.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [2**31]))
    return made.SerializeToString()


def with_functions():
    """Each function calls the next twice: 2**30 operators once they are inlined."""
    made = proto([helper.make_node("f0", ["answer"], ["output0"], domain="own")])
    for level in range(30):
        inner = [helper.make_node(f"f{level + 1}", ["x"], [each], domain="own") for each in ("a", "b")]
        body = [*inner, helper.make_node("Add", ["a", "b"], ["y"])]
        made.functions.append(
            helper.make_function("own", f"f{level}", ["x"], ["y"], body, [helper.make_opsetid("", 17)])
        )
    return made.SerializeToString()


def twice(part):
    """Protobuf puts a message together from its parts, wherever they are: one could hide in the other's shadow."""
    if part == "graph":
        return models.detect() + proto([node("ConstantOfShape", "s", "x")]).SerializeToString()
    branch = helper.make_graph([node("Identity", "answer", "x")], "b", [], [_OUTPUT]).SerializeToString()
    made = proto([node("If", "answer", "output0")])
    attribute = made.graph.node[0].attribute.add()
    attribute.name, attribute.type = "then_branch", onnx.AttributeProto.GRAPH
    held = b"\x32" + bytes([len(branch) & 127 | 128, len(branch) >> 7]) + branch
    attribute.MergeFromString(held)
    single = attribute.SerializeToString()
    whole = made.SerializeToString()
    assert single in whole
    return _replaced(made, single, single + held)


def _replaced(made, old, new):
    """The file with `new` in the place of the only node's only attribute."""
    made.graph.node[0].ClearField("attribute")
    plain = made.graph.node[0].SerializeToString() + _message(5, new)
    made.graph.ClearField("node")
    graph = made.graph.SerializeToString() + _message(1, plain)
    made.ClearField("graph")
    del old
    return made.SerializeToString() + _message(7, graph)


def _message(number, content):
    size, length = len(content), b""
    while size > 127:
        length, size = length + bytes([size & 127 | 128]), size >> 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + content


def folding(count=40, each=15_000_000):
    """Many constants that are computed of constants, none too large, no two alike: 2.4 GB if all are computed."""
    nodes = [
        node("ReduceMax", "images", "light", keepdims=0),
        node("Cast", "light", "place", to=TensorProto.INT64),
    ]
    last = "answer"
    for index in range(count):
        nodes.append(
            node("ConstantOfShape", "many", f"big{index}", value=numpy_helper.from_array(np.float32([index])))
        )
        nodes.append(node("Gather", f"big{index} place", f"one{index}"))
        nodes.append(node("Add", f"{last} one{index}", f"sum{index}" if index < count - 1 else "output0"))
        last = f"sum{index}"
    return data(nodes, {"many": np.int64([each])})


def looped(*body, turns=2**62, constants=()):
    """The answer, after so many turns of `body`, which makes "next" of "state"."""
    turn = helper.make_graph(
        [node("Identity", "go", "goes_on"), *body],
        "turn",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("goes_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, None),
        ],
    )
    loop = helper.make_node("Loop", ["turns", "yes", "lit"], ["last"], body=turn)
    light = [node("ReduceMax", "images", "light", keepdims=0), node("Add", "answer light", "lit")]
    return using(
        "last", *light, loop, constants={"yes": np.array(True), "turns": np.int64(turns), **dict(constants)}
    )
