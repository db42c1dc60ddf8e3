"""ShapeBudget bounds the dimensions of a model's tensors, and the values that are computed from them."""

from contextlib import nullcontext

import numpy as np
import pytest
from onnx import NodeProto, TensorProto

from shared.errors import InvalidModel
from shared.ml.model_checks import check_model
from shared.ml.onnx_graph import Graph, Node
from shared.ml.onnx_tensor import Numbers
from shared.ml.shape_budget import MAX_SHAPE_VALUES, ShapeBudget
from testing.case_ids import case_id
from testing.hostile_graphs import Constants, depending_on, growing_shapes, in_branches, node

MESSAGE = f"more than {MAX_SHAPE_VALUES} values together, the limit, from the operator"


def reshape(rank: int) -> Graph:
    attributes = {"shape": Numbers(count=rank)}
    return Graph([Node("", "Reshape", "", ("images",), ("x",), (), None, attributes)])


def repeated(operator: str, inputs: str, count: int) -> list[NodeProto]:
    """Return a chain of operators, in whose inputs {} is the output of the one before: of "images" at first."""
    nodes = [node("Cast", "images", "x0", to=TensorProto.INT64)]
    nodes += [node(operator, inputs.replace("{}", f"x{index}"), f"x{index + 1}") for index in range(count)]
    return [*nodes, node("Cast", f"x{count}", "big", to=TensorProto.FLOAT)]


@pytest.mark.parametrize(
    ("values", "is_accepted"), [(MAX_SHAPE_VALUES, True), (MAX_SHAPE_VALUES + 1, False)], ids=case_id
)
def test_shapes_are_accepted_up_to_the_limit(values: int, *, is_accepted: bool) -> None:
    with nullcontext() if is_accepted else pytest.raises(InvalidModel, match=MESSAGE):
        ShapeBudget().check(reshape(values))


@pytest.mark.parametrize(("doublings", "is_accepted"), [(16, True), (17, False), (40, False)], ids=case_id)
def test_values_of_shapes_that_double_are_counted(doublings: int, *, is_accepted: bool) -> None:
    with nullcontext() if is_accepted else pytest.raises(InvalidModel, match=MESSAGE):
        check_model(growing_shapes(doublings))


@pytest.mark.parametrize(
    ("operator", "inputs", "constants"),
    [
        ("Unsqueeze", "{} axis", {"axis": np.array([0])}),
        ("Gather", "{} {}", {}),
        ("OneHot", "{} depth on_off", {"depth": np.array([1]), "on_off": np.array([0, 1])}),
    ],
    ids=case_id,
)
def test_operators_that_repeatedly_add_dimensions_are_rejected(
    operator: str, inputs: str, constants: Constants
) -> None:
    check_model(depending_on("big", *repeated(operator, inputs, 10), constants=constants))

    with pytest.raises(InvalidModel, match=MESSAGE):
        check_model(depending_on("big", *repeated(operator, inputs, 1500), constants=constants))


@pytest.mark.parametrize(
    ("operator", "attributes", "constants"),
    [
        ("Reshape", {}, {"sizes": np.ones(MAX_SHAPE_VALUES // 4, np.int64)}),
        ("Einsum", {"equation": "abcd->" + "a" * (MAX_SHAPE_VALUES // 4)}, {}),
    ],
    ids=["Reshape", "Einsum"],
)
def test_operators_with_very_many_dimensions_are_rejected(
    operator: str, attributes: dict[str, str], constants: Constants
) -> None:
    inputs = "images sizes" if constants else "images"
    nodes = [node(operator, inputs, name, **attributes) for name in ("big", "x1", "x2", "x3")]

    with pytest.raises(InvalidModel, match=MESSAGE):
        check_model(depending_on("big", *nodes, constants=constants))


def test_dimensions_that_are_removed_again_do_not_add_up() -> None:
    nodes = [node("Cast", "images", "x0", to=TensorProto.FLOAT)]
    for index in range(3000):
        nodes += [
            node("Unsqueeze", f"x{index} axis", f"y{index}"),
            node("Squeeze", f"y{index} axis", f"x{index + 1}"),
        ]

    check_model(depending_on("x3000", *nodes, constants={"axis": np.array([0])}))


def test_shapes_that_grow_in_a_branch_are_rejected() -> None:
    nodes = [node("Shape", "images", "s0")]
    nodes += [node("Concat", f"s{index} s{index}", f"s{index + 1}", axis=0) for index in range(40)]

    with pytest.raises(InvalidModel, match=MESSAGE):
        check_model(in_branches(*nodes, node("Cast", "s40", "big", to=TensorProto.FLOAT)))


def test_shapes_that_grow_against_the_file_s_order_are_rejected() -> None:
    nodes = [node("Concat", f"s{index} s{index}", f"s{index + 1}", axis=0) for index in reversed(range(40))]
    last = node("Cast", "s40", "big", to=TensorProto.FLOAT)

    with pytest.raises(InvalidModel, match=MESSAGE):
        check_model(depending_on("big", last, *nodes, node("Shape", "images", "s0")))


def test_operators_that_need_each_other_are_rejected() -> None:
    with pytest.raises(InvalidModel, match="need each other's outputs"):
        check_model(depending_on("a", node("Add", "b images", "a"), node("Add", "a images", "b")))
