"""What strangers upload for models: refused from what stands in the file, or ended when it runs; never served.

And what honest exports look like, which must not be refused.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from shared.errors import InvalidModel
from shared.ml.model_checks import check_model
from shared.ml.onnx_graph import read_onnx
from shared.ml.onnx_model import ModelSource, OnnxModel
from testing import hostile_graphs, hostile_models, models

ROOT = Path(__file__).parents[3]
GROWN_MB = 150  # of which the arena that the test allows is 96
SOURCE = ModelSource("gs://b/models/t/detect.onnx", 1, "AAAAAA==")

# Loads and runs every hostile model in one process, whose arena is small, and says what became of each.
LOAD = """
import json, resource, sys
import numpy as np
from shared.errors import InvalidModel
from shared.ml import bounded_run as runs
from shared.ml.model_checks import ModelLimits
from shared.ml.onnx_model import ModelSource, OnnxModel
from testing import hostile_graphs, hostile_models as hostile

def most_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

runs.share_arena(96 * 2**20)
source = ModelSource("gs://b/models/t/detect.onnx", 1, "AAAAAA==")
light = np.ones((1, 3, 64, 64), np.float32)
ended = {}
before = most_mb()
for name, (data, _) in {**hostile.REFUSED, **hostile.ENDED, "folding": (hostile_graphs.folding(), "")}.items():
    ended[name] = ["", False]
    try:
        model = OnnxModel(data, model_type="detect", source=source, limits=ModelLimits(max_run_s=1))
        ended[name][1] = True
        model.run(light)
    except InvalidModel as error:
        ended[name][0] = str(error)
print(json.dumps({"ended": ended, "grown_mb": most_mb() - before}))
"""


@pytest.fixture(scope="module")
def loaded():
    run = subprocess.run(
        [sys.executable, "-c", LOAD], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )
    assert run.returncode == 0, run.stderr[-2000:]
    return json.loads(run.stdout)


@pytest.mark.parametrize("name", hostile_models.REFUSED)
def test_a_hostile_file_is_refused_before_it_is_a_session_and_its_owner_told_why(name, loaded):
    sentence, is_session = loaded["ended"][name]
    assert hostile_models.REFUSED[name][1] in sentence
    assert not is_session


@pytest.mark.parametrize("name", hostile_models.ENDED)
def test_a_model_that_takes_too_much_when_it_runs_is_ended_and_its_owner_told_why(name, loaded):
    sentence, is_session = loaded["ended"][name]
    assert hostile_models.ENDED[name][1] in sentence
    assert is_session


def test_what_constants_would_become_is_not_computed_while_a_model_is_loaded(loaded):
    assert loaded["ended"]["folding"] == ["", True], "it may run: one after the other they are small"


def test_all_of_them_together_take_no_memory_to_speak_of(loaded):
    assert loaded["grown_mb"] < GROWN_MB


@pytest.mark.parametrize("domain", ["", "ai.onnx", "ai.onnx.ml", "com.microsoft"])
def test_operators_of_the_usual_domains_are_admitted(domain):
    check_model(hostile_graphs.data([helper.make_node("Identity", ["answer"], ["output0"], domain=domain)]))


def test_which_domains_are_served_is_a_setting():
    node = helper.make_node("Run", ["answer"], ["output0"], domain="our.ops")
    check_model(hostile_graphs.data([node]), domains=("ai.onnx", "our.ops"))
    with pytest.raises(InvalidModel, match="Identity"):
        check_model(
            hostile_graphs.data([node, helper.make_node("Identity", ["answer"], ["x"])]), domains=("our.ops",)
        )


# Honest files


def honest():
    """Every layout and variant that the tests of layouts have, and the sample models."""
    yield from ((f"detect {each}", models.detect(**each)) for each in ({}, {"half": True}, {"dynamic": True}))
    yield from ((kind, models.planted(kind)) for kind in models.KINDS)
    yield from ((f"{kind} dynamic", models.planted(kind, dynamic=True)) for kind in models.KINDS)
    yield "blobs", models.blobs(dynamic=True)
    yield "segment", models.segment()
    yield "segment blobs", models.blobs("segment")
    yield "classify", models.classify()
    yield (
        "a shape that is known when it runs",
        models.passing(np.zeros((1, 6, 8), np.float32), declared=["a", "b", "c"]),
    )
    for path in sorted((ROOT / "samples" / "models").glob("*/*.onnx")):
        yield f"{path.parent.name} {path.stem}", path.read_bytes()


HONEST = dict(honest())


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_file_is_admitted_and_read_as_onnx_reads_it(name):
    admitted = check_model(HONEST[name])
    (graph, metadata), expected = read_onnx(HONEST[name]), onnx.load_from_string(HONEST[name])
    assert admitted.metadata == metadata == {each.key: each.value for each in expected.metadata_props}
    assert [(node.name, node.op_type, node.domain, node.inputs, node.outputs) for node in graph.nodes] == [
        (node.name, node.op_type, node.domain, tuple(node.input), tuple(node.output))
        for node in expected.graph.node
    ]
    constants = {each.name: numpy_helper.to_array(each) for each in expected.graph.initializer}
    assert {name: each.count for name, each in graph.constants.items()} == {
        name: value.size for name, value in constants.items()
    }
    for constant in graph.constants.values():
        if constant.values is not None:
            np.testing.assert_array_equal(constant.values, constants[constant.name].ravel().astype(float))
    [image] = admitted.inputs
    assert image.name == expected.graph.input[0].name
    dims = expected.graph.input[0].type.tensor_type.shape.dim
    assert image.shape == tuple(each.dim_value or None for each in dims)


@pytest.mark.parametrize(
    ("nodes", "is_foldable"),
    [
        ((), True),
        (("Constant", "", "c"), True),
        (("Cast", "w", "c"), True),
        (("Add", "w w", "c"), False),  # 1000 of each: they might be a row and a column, for all that is counted
        (("Add", "w one", "c"), True),
        (("Concat", "w w w", "c"), True),
        (("Gather", "w one", "c"), True),
        (("Shape", "images", "c"), True),
        (("ConstantOfShape", "one", "c"), False),
        (("Expand", "w one", "c"), False),
        (("MatMul", "w w", "c"), False),
        (("NoSuchThing", "w", "c"), False),
        (("Identity", "later", "c"), False),
    ],
)
def test_constants_are_computed_beforehand_where_that_is_known_to_be_small(nodes, is_foldable):
    made = (
        [hostile_graphs.node(*nodes, **({"value_ints": [1, 2]} if nodes[0] == "Constant" else {}))]
        if nodes
        else []
    )
    later = [
        hostile_graphs.node("Identity", "answer", "later"),
        hostile_graphs.node("Identity", "answer", "output0"),
    ]
    constants = {"w": np.zeros(4000, np.float32), "one": np.int64([1])}
    assert check_model(hostile_graphs.data([*made, *later], constants)).constant_folding_allowed is is_foldable


def test_many_small_constants_are_large_together():
    """Each of 40 copies is as large as the file."""
    copies = [hostile_graphs.node("Cast", "w", f"x{index}", to=TensorProto.DOUBLE) for index in range(40)]
    weights = {"w": np.zeros(2**20, np.float32)}
    answer = hostile_graphs.node("Identity", "answer", "output0")
    assert check_model(hostile_graphs.data([*copies[:4], answer], weights)).constant_folding_allowed
    assert not check_model(hostile_graphs.data([*copies, answer], weights)).constant_folding_allowed


@given(st.data())
def test_whatever_becomes_of_its_bytes_a_file_is_admitted_or_refused(data):
    whole = bytearray(
        data.draw(st.sampled_from([models.detect(), models.blobs(), hostile_models.ENDED["an endless loop"][0]]))
    )
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(whole) - 1))
        piece = data.draw(st.binary(min_size=1, max_size=12))
        if data.draw(st.booleans()):
            whole[at : at + len(piece)] = piece
        else:
            whole[at:at] = piece
    try:
        check_model(bytes(whole))
    except InvalidModel as error:
        assert str(error)  # noqa: PT017 - either is right


@given(st.binary(max_size=200))
def test_whatever_bytes_there_are_they_are_admitted_or_refused(data):
    try:
        check_model(data)
    except InvalidModel as error:
        assert str(error)  # noqa: PT017 - either is right


def test_a_refused_file_leaves_the_others_as_they_were():
    good = OnnxModel(models.detect(), model_type="detect", source=SOURCE)
    light = np.ones((1, 3, 64, 64), np.float32)
    [before] = good.run(light)
    with pytest.raises(InvalidModel):
        OnnxModel(hostile_models.REFUSED["2 GB by Expand"][0], model_type="detect", source=SOURCE)
    np.testing.assert_array_equal(good.run(light)[0], before)
