"""Models that strangers might upload: small files that would take memory, time, or what is not theirs.

`REFUSED` are known from the file, `ENDED` show themselves when they run; each with a part of the sentence that its
owner is told.
"""

import numpy as np
from onnx import TensorProto, helper

from testing import models
from testing.hostile_graphs import (
    MANY,
    data,
    in_a_branch,
    looped,
    lying,
    node,
    outside,
    sparse,
    twice,
    using,
    with_functions,
)

_HALVES = node("Mul", "many two", "more")  # 2 GB, by way of sums that nobody does before it runs

REFUSED = {
    "2 GB by ConstantOfShape": (
        using("big", node("ConstantOfShape", "many", "big"), constants={"many": MANY}),
        "requests 5e+08 values",
    ),
    "2 GB by Expand": (
        using("big", node("Expand", "zero many", "big"), constants={"zero": [0.0], "many": MANY}),
        "requests",
    ),
    "2 GB by Expand of the image": (
        using(
            "big",
            node("ReduceMax", "images", "x", keepdims=0),
            node("Expand", "x many", "big"),
            constants={"many": MANY},
        ),
        "requests",
    ),
    "2 GB by Tile": (
        using("big", node("Tile", "zero many", "big"), constants={"zero": [[[0.0]]], "many": MANY}),
        "requests",
    ),
    "2 GB by Range": (
        using(
            "big",
            node("Range", "from to by", "big"),
            constants={"from": np.float32(0), "to": np.float32(5e8), "by": np.float32(1)},
        ),
        "requests",
    ),
    "2 GB by OneHot": (
        using(
            "big",
            node("OneHot", "some many on", "big"),
            constants={"some": np.int64([1, 2]), "many": np.int64([2**28]), "on": [0.0, 1.0]},
        ),
        "requests",
    ),
    "2 GB by Pad": (
        using(
            "big",
            node("Pad", "images pads", "big"),
            constants={"pads": np.int64([0, 0, 0, 0, 0, 0, 20000, 20000])},
        ),
        "requests",
    ),
    "2 GB by Resize": (
        using(
            "big",
            helper.make_node("Resize", ["images", "", "", "many"], ["big"], name="big"),
            constants={"many": np.int64([1, 3, 20000, 20000])},
        ),
        "requests",
    ),
    "2 GB by Resize, by scales": (
        using(
            "big",
            helper.make_node("Resize", ["images", "", "many"], ["big"], name="big"),
            constants={"many": np.float32([1, 1, 20000, 20000])},
        ),
        "requests",
    ),
    "2 GB by RandomUniform": (using("big", node("RandomUniform", "", "big", shape=MANY)), "requests"),
    "2 GB by a constant that is a node": (
        using("big", node("Constant", "", "many", value_ints=MANY), node("ConstantOfShape", "many", "big")),
        "requests",
    ),
    "2 GB in a branch": (in_a_branch(node("ConstantOfShape", "many", "big")).SerializeToString(), "requests"),
    "graphs in graphs": (in_a_branch(node("Identity", "zero", "big"), depth=20).SerializeToString(), "8 deep"),
    "an initialiser elsewhere": (outside("an initialiser"), "another file"),
    "a constant elsewhere": (outside("a constant"), "another file"),
    "a branch's constant elsewhere": (outside("a branch"), "another file"),
    "somebody's own operators": (
        data([helper.make_node("Run", ["answer"], ["output0"], domain="evil.ops")]),
        "'evil.ops'",
    ),
    "operators in a branch": (
        in_a_branch(helper.make_node("Run", ["zero"], ["big"], domain="evil.ops")).SerializeToString(),
        "'evil.ops'",
    ),
    "functions that call each other": (with_functions(), "model-local functions"),
    "sparse weights": (sparse(), "sparse"),
    "more weights than bytes": (lying([2**28]), "the file contains 1"),
    "more weights than there are numbers": (lying([2**62, 2**62]), "invalid shape"),
    "fewer weights than none": (lying([-1, -2]), "invalid shape"),
    "very many operators": (
        data([node("Identity", "answer", f"x{index}") for index in range(20_001)]),
        "more than 20000 operators",
    ),
    "very many names": (
        data([helper.make_node("Sum", ["a"] * 400_100, ["output0"])]),
        "more than 400000 protobuf fields",
    ),
    "a graph in two parts": (twice("graph"), "exactly one graph"),
    "a branch in two parts": (twice("branch"), "duplicate value"),
    "another format": (b"\x08\x00\x00\x00ORTM" + models.detect(), "not an ONNX model"),
    "an image too many": (
        data(
            [node("Identity", "answer", "output0")],
            image=helper.make_tensor_value_info("images", TensorProto.FLOAT, [100_000, 3, 640, 640]),
        ),
        "batches of 100000",
    ),
    "no image": (
        data(
            [node("Identity", "answer", "output0")],
            image=helper.make_tensor_value_info("images", TensorProto.FLOAT, [1]),
        ),
        "has 1 dimensions",
    ),
    "very many classes": (
        data(
            [node("Identity", "answer", "output0")], said={"task": "detect", "names": "[" + "0," * 2_000_000 + "]"}
        ),
        "names is too long",
    ),
}

ENDED = {
    "an endless loop": (looped(node("Identity", "state", "next")), "more than 1 s"),
    "a loop that doubles": (looped(node("Concat", "state state", "next", axis=0)), "more memory"),
    "2 GB, known when it runs": (
        using(
            "big",
            _HALVES,
            node("ConstantOfShape", "more", "big"),
            constants={"many": np.int64([250, 1000, 1000]), "two": np.int64([2, 1, 1])},
        ),
        "more memory",
    ),
    "2 GB, of two constants": (
        using(
            "big",
            node("Mul", "rows columns", "big"),
            constants={"rows": np.zeros((20_000, 1), np.float32), "columns": np.zeros((1, 25_000), np.float32)},
        ),
        "more memory",
    ),
    "2 GB, of the image's size": (
        using(
            "big",
            node("Shape", "images", "size"),
            node("Mul", "size many", "more"),
            node("ConstantOfShape", "more", "big"),
            constants={"many": np.int64([4, 100, 10, 10])},
        ),
        "more memory",
    ),
}
