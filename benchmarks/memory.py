"""Compare the resident memory of a process with ten tenants' models to the size of their files.

The models are large ones of 100 MB, whose weights dominate, and models of YOLO11n's size, whose runs need several
times the memory of their weights. Each kind is measured in a new process, imports included.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import psutil
from onnx import NodeProto, TensorProto, helper, numpy_helper

from benchmarks.network import detect_model
from benchmarks.table import Figure, Table
from local.folder_store import FolderStore
from shared.ml.model_cache import ModelCache

ROOT: Final = Path(__file__).resolve().parent.parent
TENANTS: Final = 10
LIMIT: Final = 1.3
CANVAS: Final = 64
MOMENTS: Final = ("files", "before", "loaded", "run")
_CHANNELS: Final = 512
_CONVOLUTIONS: Final = 8  # 512 x 512 x 3 x 3 floats: 9.4 MB each
_OUTPUT_SHAPE: Final = (1, 6, 84)
_WIDTHS: Final = (_CHANNELS, 3072, 1536, 6 * 84)  # of the matrices: 28.2 MB
_MB: Final = 1e6


def run(tenants: int = TENANTS) -> Table:
    large = _measure_in_new_process(large_model(), tenants)
    medium = _measure_in_new_process(detect_model()[0], tenants)
    rows = [
        (name, *(f"{resident[moment] / _MB:.0f} MB" for moment in MOMENTS))
        for name, resident in (("large models", large), ("models of YOLO11n's size", medium))
    ]
    return Table(
        f"Memory: {tenants} tenants' models in one ModelCache",
        [
            Figure("large models: resident / bytes of their files", large["loaded"] / large["files"], limit=LIMIT),
            Figure("large models, each run once", large["run"] / large["files"], limit=LIMIT),
            Figure("one model of YOLO11n's size: its file", medium["files"] / tenants / _MB, "MB"),
            Figure("resident for it, run once", (medium["run"] - medium["before"]) / tenants / _MB, "MB"),
        ],
        [("resident", *MOMENTS), *rows],
    )


def _measure_in_new_process(model: bytes, tenants: int) -> dict[str, int]:
    """Run `measure` in a new process with that many copies of the model."""
    with tempfile.TemporaryDirectory(prefix="tenant-vision-") as folder:
        for index in range(tenants):
            path = Path(folder, f"tenant-{index + 1:03}", "detect.onnx")
            path.parent.mkdir()
            path.write_bytes(model)
        command = [sys.executable, "-m", "benchmarks.memory", folder]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    resident: dict[str, int] = json.loads(done.stdout)
    return resident


def large_model() -> bytes:
    """Return a detect model of 100 MB: convolutions as in a large detector, and matrix products behind them."""
    rng = np.random.default_rng(3)
    nodes: list[NodeProto] = []
    constants: list[TensorProto] = []

    def add(kind: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        name = name or f"x{len(nodes)}"
        nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def constant(values: npt.NDArray[np.generic]) -> str:
        constants.append(numpy_helper.from_array(values, f"c{len(constants)}"))
        return str(constants[-1].name)

    def weights(*shape: int) -> str:
        return constant(rng.standard_normal(shape, np.float32) * np.float32(0.02))

    x = add("Conv", "images", weights(_CHANNELS, 3, 3, 3), strides=[8, 8], pads=[1] * 4)
    for _ in range(_CONVOLUTIONS):
        x = add("Relu", add("Conv", x, weights(_CHANNELS, _CHANNELS, 3, 3), pads=[1] * 4))
    x = add("GlobalAveragePool", x)
    x = add("Reshape", x, constant(np.array((1, _CHANNELS), np.int64)))
    for rows, columns in pairwise(_WIDTHS):
        x = add("MatMul", x, weights(rows, columns))
    add("Reshape", x, constant(np.array(_OUTPUT_SHAPE, np.int64)), name="output0")
    graph = helper.make_graph(
        nodes,
        "large",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, CANVAS, CANVAS])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, _OUTPUT_SHAPE)],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"task": "detect", "stride": "32", "names": "{0: 'plant', 1: 'weed'}"})
    data: bytes = model.SerializeToString()
    return data


def measure(folder: Path) -> dict[str, int]:
    """Return the bytes of the models' files, and the bytes resident at three moments."""
    process = psutil.Process()
    tenants = sorted(path.name for path in folder.iterdir())
    ModelCache.configure(FolderStore({"models/": folder}), bucket="local", refresh_s=86_400.0)
    before = process.memory_info().rss
    models = [ModelCache.get_model(tenant_id=each, model_type="detect") for each in tenants]
    gc.collect()
    loaded = process.memory_info().rss
    for model in models:
        model.run(np.zeros((1, 3, *model.export.canvas_hw), np.float32))
    gc.collect()
    run_once = process.memory_info().rss
    moments = (ModelCache.stats().bytes, before, loaded, run_once)
    return dict(zip(MOMENTS, moments, strict=True))


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]))) if len(sys.argv) > 1 else run())
