"""check_model rejects hostile files before a session exists, and accepts what exporters write."""

import json
import math
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TypedDict

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from shared.errors import InvalidModel
from shared.ml.model_checks import check_model
from shared.ml.onnx_graph import MAX_UNREAD_BYTES, read_onnx
from shared.ml.onnx_model import ModelSource, OnnxModel
from shared.ml.protobuf_reader import MAX_TEXT_BYTES
from shared.names import MAX_SENTENCE_CHARACTERS, is_printable
from testing import hostile_graphs, hostile_models, models, oversized_files

ROOT = Path(__file__).parents[3]
ARENA_MB = 96
MAX_GROWTH_MB = ARENA_MB + 54
MAX_CHECK_MB = 64
SOURCE = ModelSource("gs://b/models/t/detect.onnx", 1, "AAAAAA==")

# Loads and runs every hostile model in one process with a small arena, and prints the error of each.
RUN_HOSTILE_MODELS = f"""
import json, resource
import numpy as np
from shared.errors import InvalidModel
from shared.ml import bounded_run
from shared.ml.model_checks import ModelLimits
from shared.ml.onnx_model import ModelSource, OnnxModel
from shared.ml.protobuf_reader import MAX_TEXT_BYTES
from shared.names import MAX_SENTENCE_CHARACTERS, is_printable
from testing import hostile_graphs, hostile_models

def max_rss_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

bounded_run.share_arena({ARENA_MB} * 2**20)
source = ModelSource("gs://b/models/t/detect.onnx", 1, "AAAAAA==")
white = np.ones((1, 3, 64, 64), np.float32)
results = {{}}
before_mb = max_rss_mb()
folding = {{"folding": (hostile_graphs.with_foldable_constants(), "")}}
for name, (data, _) in (hostile_models.REJECTED | hostile_models.STOPPED | folding).items():
    results[name] = ["", False]
    try:
        model = OnnxModel(data, model_type="detect", source=source, limits=ModelLimits(max_run_s=1))
        results[name][1] = True
        model.run(white)
    except InvalidModel as error:
        results[name][0] = str(error)
print(json.dumps({{"results": results, "growth_mb": max_rss_mb() - before_mb}}))
"""


class HostileRuns(TypedDict):
    results: dict[str, tuple[str, bool]]  # the error's message, and whether a session was created
    growth_mb: float


@pytest.fixture(scope="module")
def hostile_runs() -> HostileRuns:
    command = [sys.executable, "-c", RUN_HOSTILE_MODELS]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    output: HostileRuns = json.loads(run.stdout)
    return output


@pytest.mark.parametrize("name", hostile_models.REJECTED)
def test_hostile_file_is_rejected_with_a_reason_before_a_session_exists(
    name: str, hostile_runs: HostileRuns
) -> None:
    message, has_session = hostile_runs["results"][name]
    assert hostile_models.REJECTED[name][1] in message
    assert len(message) <= MAX_SENTENCE_CHARACTERS
    assert is_printable(message)
    assert not has_session


@pytest.mark.parametrize("name", hostile_models.STOPPED)
def test_hostile_run_is_stopped_with_a_reason(name: str, hostile_runs: HostileRuns) -> None:
    message, has_session = hostile_runs["results"][name]
    assert hostile_models.STOPPED[name][1] in message
    assert has_session


def test_large_constants_are_not_folded_while_loading(hostile_runs: HostileRuns) -> None:
    message, has_session = hostile_runs["results"]["folding"]
    assert (message, has_session) == ("", True), "it may run: one after the other the constants are small"


def test_all_hostile_files_together_need_little_memory(hostile_runs: HostileRuns) -> None:
    assert hostile_runs["growth_mb"] < MAX_GROWTH_MB


@pytest.mark.parametrize("domain", ["", "ai.onnx", "ai.onnx.ml", "com.microsoft"])
def test_operators_of_standard_domains_are_accepted(domain: str) -> None:
    node = helper.make_node("Identity", ["answer"], ["output0"], domain=domain)
    check_model(hostile_graphs.model_bytes([node]))


def test_accepted_domains_are_configurable() -> None:
    own = helper.make_node("Run", ["answer"], ["output0"], domain="our.ops")
    identity = helper.make_node("Identity", ["answer"], ["x"])

    check_model(hostile_graphs.model_bytes([own]), domains=("ai.onnx", "our.ops"))

    with pytest.raises(InvalidModel, match="Identity"):
        check_model(hostile_graphs.model_bytes([own, identity]), domains=("our.ops",))


@pytest.mark.parametrize("build", oversized_files.BUILDERS.values(), ids=oversized_files.BUILDERS)
def test_checking_a_file_takes_little_memory_beside_it(build: Callable[[], bytes]) -> None:
    data = build()

    tracemalloc.start()
    try:
        with suppress(InvalidModel):
            check_model(data)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak_bytes < MAX_CHECK_MB * 2**20


@pytest.mark.parametrize(
    "build", [oversized_files.tensor_of_one_value, oversized_files.packed_tensor_of_one_value]
)
def test_tensor_with_more_bytes_than_its_values_need_is_rejected(build: Callable[[], bytes]) -> None:
    with pytest.raises(InvalidModel, match="The tensor 'w' declares 1 values; the file contains 12582912 bytes"):
        check_model(build())


def test_names_and_metadata_up_to_the_limit_are_accepted() -> None:
    def with_name(length: int) -> bytes:
        return hostile_graphs.model_bytes(
            [hostile_graphs.node("Identity", "answer", "output0")], metadata={"names": "x" * length}
        )

    check_model(with_name(MAX_TEXT_BYTES - 200))

    with pytest.raises(InvalidModel, match=f"more than {MAX_TEXT_BYTES} bytes of names and metadata"):
        check_model(with_name(MAX_TEXT_BYTES))


@pytest.mark.parametrize(
    ("build", "count", "message"),
    [
        (oversized_files.unused_dimensions, 399_000, "more than 400000 protobuf fields"),
        (oversized_files.unused_sequence, MAX_UNREAD_BYTES // 2 - 10, f"more than {MAX_UNREAD_BYTES} bytes"),
    ],
    ids=["tensor", "sequence"],
)
def test_descriptions_of_tensors_are_accepted_up_to_the_limit(
    build: Callable[[int], bytes], count: int, message: str
) -> None:
    check_model(build(count))

    with pytest.raises(InvalidModel, match=message):
        check_model(build(count + 1000))


@pytest.mark.parametrize("text", ["name", "Identity", "task", "answer", "height", "axis", "output0"])
def test_text_that_is_not_utf_8_is_rejected(text: str) -> None:
    image = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, "height", 64])
    operator = helper.make_node("Identity", ["answer"], ["output0"], name="name", axis=1)
    data = hostile_graphs.model_bytes([operator], image=image)
    changed = data.replace(text.encode(), b"\xff" * len(text))
    assert changed != data

    with pytest.raises(InvalidModel, match="not valid UTF-8"):
        check_model(changed)


def test_control_characters_of_an_operator_are_escaped_in_the_sentence() -> None:
    operator = helper.make_node("Id\n\x1b[2J\u202e", ["answer"], ["output0"], name="a\u2028b", domain="evil\r")

    with pytest.raises(InvalidModel) as error:
        check_model(hostile_graphs.model_bytes([operator]))

    assert r"The operator 'Id\n\x1b[2J\u202e' 'a\u2028b' has the unsupported domain 'evil\r'" in str(error.value)


@pytest.mark.parametrize("count", [64, 65])
def test_sizes_of_an_operator_are_read_up_to_64(count: int) -> None:
    shape = [1] * count
    random = hostile_graphs.model_bytes([hostile_graphs.node("RandomUniform", "", "output0", shape=shape)])
    zeros = hostile_graphs.model_bytes(
        [hostile_graphs.node("ConstantOfShape", "sizes", "output0")], {"sizes": np.array(shape)}
    )
    for data in (random, zeros):
        with nullcontext() if count <= 64 else pytest.raises(InvalidModel, match="takes more than 64 sizes"):
            check_model(data)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64])
@pytest.mark.parametrize("is_raw", [True, False])
def test_range_is_rejected_whatever_the_type_and_encoding_of_its_limit(
    dtype: type[np.generic], *, is_raw: bool
) -> None:
    limits = [
        numpy_helper.from_array(np.asarray(value, dtype), name)
        for value, name in ((0, "zero"), (5e8, "max"), (1, "one"))
    ]
    if not is_raw:
        limits = [
            helper.make_tensor(each.name, each.data_type, [], numpy_helper.to_array(each).ravel())
            for each in limits
        ]
    model = hostile_graphs.model_proto([hostile_graphs.node("Range", "zero max one", "output0")])
    model.graph.initializer.extend(limits)

    with pytest.raises(InvalidModel, match="requests 5e\\+08 values"):
        check_model(model.SerializeToString())


# Honest files


def honest_files() -> Iterator[tuple[str, bytes]]:
    """Yield every layout and variant of the tests, and the sample models."""
    yield "detect", models.detect()
    yield "detect float16", models.detect(half=True)
    yield "detect dynamic", models.detect(dynamic=True)
    for layout in models.LAYOUTS:
        yield layout, models.detect_in_layout(layout)
        yield f"{layout} dynamic", models.detect_in_layout(layout, dynamic=True)
    yield "blobs", models.blob_detector(dynamic=True)
    yield "segment", models.segment()
    yield "segment blobs", models.blob_detector("segment")
    yield "classify", models.classify()
    yield (
        "a shape known at run time",
        models.constant_output(np.zeros((1, 6, 8), np.float32), declared=["a", "b", "c"]),
    )
    for path in sorted((ROOT / "samples" / "models").glob("*/*.onnx")):
        yield f"{path.parent.name} {path.stem}", path.read_bytes()


HONEST = dict(honest_files())


@pytest.mark.parametrize("data", HONEST.values(), ids=HONEST)
def test_honest_file_is_accepted_and_read_as_onnx_reads_it(data: bytes) -> None:
    checked = check_model(data)
    graph, metadata = read_onnx(data)
    expected = onnx.load_from_string(data)

    assert checked.metadata == metadata == {each.key: each.value for each in expected.metadata_props}
    assert [(node.name, node.op_type, node.domain, node.inputs, node.outputs) for node in graph.nodes] == [
        (node.name, node.op_type, node.domain, tuple(node.input), tuple(node.output))
        for node in expected.graph.node
    ]
    constants = {each.name: numpy_helper.to_array(each) for each in expected.graph.initializer}
    assert {name: each.count for name, each in graph.constants.items()} == {
        name: value.size for name, value in constants.items()
    }
    for constant in graph.constants.values():
        value = constants[constant.name]
        is_size = value.dtype in {np.dtype(each) for each in (np.float32, np.float64, np.int32, np.int64)}
        product = math.prod(max(1.0, abs(float(size))) for size in value.ravel()[:64])
        assert constant.size_product == (None if not is_size else product if value.size <= 64 else math.inf)
    [image] = checked.inputs
    assert image.name == expected.graph.input[0].name
    dims = expected.graph.input[0].type.tensor_type.shape.dim
    assert image.shape == tuple(each.dim_value or None for each in dims)


@pytest.mark.parametrize(
    ("node", "is_allowed"),
    [
        pytest.param(None, True, id="no constant is computed"),
        pytest.param(hostile_graphs.node("Constant", "", "c", value_ints=[1, 2]), True, id="Constant"),
        pytest.param(hostile_graphs.node("Cast", "w", "c"), True, id="Cast"),
        # 4000 values each: the bound counts them as if they were a row and a column.
        pytest.param(hostile_graphs.node("Add", "w w", "c"), False, id="Add of two large constants"),
        pytest.param(hostile_graphs.node("Add", "w one", "c"), True, id="Add of a scalar"),
        pytest.param(hostile_graphs.node("Concat", "w w w", "c"), True, id="Concat"),
        pytest.param(hostile_graphs.node("Gather", "w one", "c"), True, id="Gather"),
        pytest.param(hostile_graphs.node("Shape", "images", "c"), True, id="Shape"),
        pytest.param(hostile_graphs.node("ConstantOfShape", "one", "c"), False, id="ConstantOfShape"),
        pytest.param(hostile_graphs.node("Expand", "w one", "c"), False, id="Expand"),
        pytest.param(hostile_graphs.node("MatMul", "w w", "c"), False, id="MatMul"),
        pytest.param(hostile_graphs.node("NoSuchThing", "w", "c"), False, id="unknown operator"),
        pytest.param(hostile_graphs.node("Identity", "later", "c"), False, id="not in topological order"),
    ],
)
def test_constant_folding_is_allowed_if_its_results_are_known_to_be_small(
    node: onnx.NodeProto | None, *, is_allowed: bool
) -> None:
    others = [
        hostile_graphs.node("Identity", "answer", "later"),
        hostile_graphs.node("Identity", "answer", "output0"),
    ]
    constants = {"w": np.zeros(4000, np.float32), "one": np.array([1])}
    data = hostile_graphs.model_bytes(([node] if node else []) + others, constants)
    assert check_model(data).constant_folding_allowed is is_allowed


def test_constant_folding_budget_covers_all_constants_together() -> None:
    """Each of 40 copies is as large as the file."""
    copies = [hostile_graphs.node("Cast", "w", f"x{index}", to=TensorProto.DOUBLE) for index in range(40)]
    weights = {"w": np.zeros(2**20, np.float32)}
    output = hostile_graphs.node("Identity", "answer", "output0")

    four = check_model(hostile_graphs.model_bytes([*copies[:4], output], weights))
    forty = check_model(hostile_graphs.model_bytes([*copies, output], weights))

    assert four.constant_folding_allowed
    assert not forty.constant_folding_allowed


@given(st.data())
def test_changed_file_is_accepted_or_rejected_as_invalid(data: st.DataObject) -> None:
    files = [models.detect(), models.blob_detector(), hostile_models.STOPPED["an endless loop"][0]]
    content = bytearray(data.draw(st.sampled_from(files)))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        piece = data.draw(st.binary(min_size=1, max_size=12))
        if data.draw(st.booleans()):
            content[at : at + len(piece)] = piece
        else:
            content[at:at] = piece
    try:
        check_model(bytes(content))
    except InvalidModel as error:
        assert str(error)  # noqa: PT017 - either is right


@given(st.binary(max_size=200))
def test_random_bytes_are_accepted_or_rejected_as_invalid(data: bytes) -> None:
    try:
        check_model(data)
    except InvalidModel as error:
        assert str(error)  # noqa: PT017 - either is right


def test_rejected_file_does_not_affect_loaded_models() -> None:
    model = OnnxModel(models.detect(), model_type="detect", source=SOURCE)
    white = np.ones((1, 3, 64, 64), np.float32)
    [before] = model.run(white)

    with pytest.raises(InvalidModel):
        OnnxModel(hostile_models.REJECTED["2 GB by Expand"][0], model_type="detect", source=SOURCE)

    np.testing.assert_array_equal(model.run(white)[0], before)


def test_file_with_a_slow_operator_is_accepted() -> None:
    """How long an operator takes is not known from the file."""
    assert check_model(hostile_graphs.slow_operator()).inputs[0].shape == (1, 3, 64, 64)
