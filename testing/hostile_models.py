"""Models that a malicious tenant might upload: small files that take memory, time, or other tenants' data.

Each comes with a part of the message that its owner receives. `REJECTED` are rejected because of their file,
`STOPPED` load and exceed a limit when they run.
"""

import numpy as np
from onnx import TensorProto, helper

from testing import models
from testing.hostile_graphs import (
    TWO_GB_SHAPE,
    depending_on,
    growing_shapes,
    in_branches,
    in_loop,
    model_bytes,
    node,
    with_external_data,
    with_functions,
    with_sparse_initializer,
    with_two_branch_graphs,
    with_two_graphs,
    with_wrong_dims,
)

REJECTED: dict[str, tuple[bytes, str]] = {
    "2 GB by ConstantOfShape": (
        depending_on("big", node("ConstantOfShape", "sizes", "big"), constants={"sizes": TWO_GB_SHAPE}),
        "requests 5e+08 values",
    ),
    "2 GB by Expand": (
        depending_on("big", node("Expand", "zero sizes", "big"), constants={"zero": [0.0], "sizes": TWO_GB_SHAPE}),
        "requests",
    ),
    "2 GB by Expand of the image": (
        depending_on(
            "big",
            node("ReduceMax", "images", "x", keepdims=0),
            node("Expand", "x sizes", "big"),
            constants={"sizes": TWO_GB_SHAPE},
        ),
        "requests",
    ),
    "2 GB by Tile": (
        depending_on(
            "big", node("Tile", "zero sizes", "big"), constants={"zero": [[[0.0]]], "sizes": TWO_GB_SHAPE}
        ),
        "requests",
    ),
    "2 GB by Range": (
        depending_on(
            "big",
            node("Range", "start limit delta", "big"),
            constants={"start": np.float32(0), "limit": np.float32(5e8), "delta": np.float32(1)},
        ),
        "requests",
    ),
    "2 GB by OneHot": (
        depending_on(
            "big",
            node("OneHot", "indices sizes on_off", "big"),
            constants={"indices": np.array([1, 2]), "sizes": np.array([2**28]), "on_off": [0.0, 1.0]},
        ),
        "requests",
    ),
    "2 GB by Pad": (
        depending_on(
            "big",
            node("Pad", "images pads", "big"),
            constants={"pads": np.array([0, 0, 0, 0, 0, 0, 20000, 20000])},
        ),
        "requests",
    ),
    "2 GB by Resize": (
        depending_on(
            "big",
            helper.make_node("Resize", ["images", "", "", "sizes"], ["big"], name="big"),
            constants={"sizes": np.array([1, 3, 20000, 20000])},
        ),
        "requests",
    ),
    "2 GB by Resize, by scales": (
        depending_on(
            "big",
            helper.make_node("Resize", ["images", "", "sizes"], ["big"], name="big"),
            constants={"sizes": np.array([1, 1, 20000, 20000], np.float32)},
        ),
        "requests",
    ),
    "2 GB by RandomUniform": (
        depending_on("big", node("RandomUniform", "", "big", shape=TWO_GB_SHAPE)),
        "requests",
    ),
    "2 GB by a Constant node": (
        depending_on(
            "big", node("Constant", "", "sizes", value_ints=TWO_GB_SHAPE), node("ConstantOfShape", "sizes", "big")
        ),
        "requests",
    ),
    "2 GB in a branch": (in_branches(node("ConstantOfShape", "sizes", "big")), "requests"),
    "20 nested graphs": (in_branches(node("Identity", "zero", "big"), depth=20), "8 deep"),
    "shapes that double": (growing_shapes(), "values together"),
    "an initializer in another file": (with_external_data("initializer"), "another file"),
    "a Constant in another file": (with_external_data("constant"), "another file"),
    "a Constant of a branch in another file": (with_external_data("branch"), "another file"),
    "operators of an unsupported domain": (
        model_bytes([helper.make_node("Run", ["answer"], ["output0"], domain="evil.ops")]),
        "'evil.ops'",
    ),
    "operators of an unsupported domain in a branch": (
        in_branches(helper.make_node("Run", ["zero"], ["big"], domain="evil.ops")),
        "'evil.ops'",
    ),
    "nested functions": (with_functions(), "model-local functions"),
    "sparse weights": (with_sparse_initializer(), "sparse"),
    "a tensor larger than its bytes": (with_wrong_dims([2**28]), "the file contains 1"),
    "a tensor of 2**124 values": (with_wrong_dims([2**62, 2**62]), "invalid shape"),
    "a tensor of negative dimensions": (with_wrong_dims([-1, -2]), "invalid shape"),
    "too many operators": (
        model_bytes([node("Identity", "answer", f"x{index}") for index in range(20_001)]),
        "more than 20000 operators",
    ),
    "too many protobuf fields": (
        model_bytes([helper.make_node("Sum", ["a"] * 400_100, ["output0"])]),
        "more than 400000 protobuf fields",
    ),
    "two graphs": (with_two_graphs(), "exactly one graph"),
    "two graphs of one branch": (with_two_branch_graphs(), "duplicate value"),
    "the ORT format": (b"\x08\x00\x00\x00ORTM" + models.detect(), "not an ONNX model"),
    "too many images in a batch": (
        model_bytes(
            [node("Identity", "answer", "output0")],
            image=helper.make_tensor_value_info("images", TensorProto.FLOAT, [100_000, 3, 640, 640]),
        ),
        "batches of 100000",
    ),
    "an input that is no image": (
        model_bytes(
            [node("Identity", "answer", "output0")],
            image=helper.make_tensor_value_info("images", TensorProto.FLOAT, [1]),
        ),
        "has 1 dimensions",
    ),
    "too many classes": (
        model_bytes(
            [node("Identity", "answer", "output0")],
            metadata={"task": "detect", "names": "[" + "0," * 2_000_000 + "]"},
        ),
        "names is too long",
    ),
}

STOPPED: dict[str, tuple[bytes, str]] = {
    "an endless loop": (in_loop(node("Identity", "state", "next")), "more than 1 s"),
    "a loop that doubles": (in_loop(node("Concat", "state state", "next", axis=0)), "more memory"),
    "2 GB by computed sizes": (
        depending_on(
            "big",
            node("Mul", "sizes two", "larger_sizes"),
            node("ConstantOfShape", "larger_sizes", "big"),
            constants={"sizes": np.array([250, 1000, 1000]), "two": np.array([2, 1, 1])},
        ),
        "more memory",
    ),
    "2 GB by broadcasting": (
        depending_on(
            "big",
            node("Mul", "rows columns", "big"),
            constants={"rows": np.zeros((20_000, 1), np.float32), "columns": np.zeros((1, 25_000), np.float32)},
        ),
        "more memory",
    ),
    "2 GB by the image's size": (
        depending_on(
            "big",
            node("Shape", "images", "size"),
            node("Mul", "size sizes", "larger_sizes"),
            node("ConstantOfShape", "larger_sizes", "big"),
            constants={"sizes": np.array([4, 100, 10, 10])},
        ),
        "more memory",
    ),
}
