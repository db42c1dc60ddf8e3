"""The parts that the ONNX files of `testing.models` have in common: inputs, outputs, nodes and metadata."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

Box = tuple[float, float, float, float, int, float]  # centre x, centre y, width, height, class id, score
Mask = tuple[int, float, npt.NDArray[np.bool_]]  # class id, score, (H, W) on the canvas
LayoutName = Literal["raw", "v5", "end_to_end", "nms", "rtdetr", "rtdetr_raw"]

BOXES: tuple[Box, ...] = ((16, 16, 16, 16, 0, 0.9), (44, 40, 24, 16, 1, 0.8))
LABELS = ("plant", "tray")
CANVAS_HW = (64, 64)
LAYOUTS: tuple[LayoutName, ...] = ("raw", "v5", "end_to_end", "nms", "rtdetr", "rtdetr_raw")
LAST_AXIS = numpy_helper.from_array(np.array([3], np.int64), "last_axis")
_LAYOUT_METADATA: Mapping[str, dict[str, str]] = {
    "end_to_end": {"end2end": "True"},
    "nms": {"end2end": "False", "args": "{'nms': True}"},
    "rtdetr": {"head": "RTDETRDecoder"},
    "rtdetr_raw": {"head": "RTDETRDecoder"},
}


def image_input(
    canvas_hw: tuple[int, int], *, dynamic: bool, half: bool, batch: int
) -> tuple[int, onnx.ValueInfoProto]:
    dtype = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    shape: list[str | int] = ["batch", 3, "height", "width"] if dynamic else [batch, 3, *canvas_hw]
    return dtype, helper.make_tensor_value_info("images", dtype, shape)


def scaled_by_brightness(answer: str, is_score: str, output: str, dtype: int) -> list[onnx.NodeProto]:
    """Return nodes that multiply the scores of `answer` by the image's brightest value; `is_score` is 0 or 1."""
    return [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["pixels"], ["brightness_nchw"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Squeeze", ["brightness_nchw", "last_axis"], ["brightness"]),
        helper.make_node("Pow", ["brightness", is_score], ["factor"]),
        helper.make_node("Mul", [answer, "factor"], ["scaled"]),
        helper.make_node("Cast", ["scaled"], [output], to=dtype),
    ]


def layout_output(
    layout: LayoutName,
    boxes: Sequence[Box],
    classes: int,
    canvas_hw: tuple[int, int],
    mask_coefficients: int = 0,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return the output of that layout for boxes in canvas px, and 1 where it has a score, otherwise 0."""
    height, width = canvas_hw
    xywh = np.array(boxes, np.float32).reshape(-1, 6)
    corners = np.concatenate((xywh[:, :2] - xywh[:, 2:4] / 2, xywh[:, :2] + xywh[:, 2:4] / 2), axis=1)
    normalised = xywh[:, :4] / (width, height, width, height)
    scores = np.zeros((len(xywh), classes), np.float32)
    known = np.flatnonzero(xywh[:, 4] < classes)
    scores[known, xywh[known, 4].astype(int)] = xywh[known, 5]
    objectness = np.ones((len(xywh), 1), np.float32)
    single = xywh[:, [5, 4]]
    parts: dict[str, tuple[list[npt.NDArray[np.floating]], int]] = {
        "raw": ([xywh[:, :4], scores], 4),
        "v5": ([xywh[:, :4], objectness, scores], 4),
        "end_to_end": ([corners, single], 4),
        "nms": ([corners, single], 4),
        "rtdetr": ([normalised, single], 4),
        "rtdetr_raw": ([normalised, scores], 4),
    }
    columns, first = parts[layout]
    rows = np.concatenate(columns, axis=1).astype(np.float32)
    count = max(len(rows), rows.shape[1] + mask_coefficients + 2)
    if layout == "v5":
        count = 3 * sum((height // stride) * (width // stride) for stride in (8, 16, 32))
    answer = np.zeros((1, count, rows.shape[1]), np.float32)
    answer[0, : len(rows)] = rows
    is_score = np.zeros_like(answer)
    is_score[:, :, first : first + (classes if layout in {"raw", "rtdetr_raw"} else 1)] = 1
    if layout == "raw":
        return answer.transpose(0, 2, 1), is_score.transpose(0, 2, 1)
    return answer, is_score


def with_runtime_shape(name: str, output: str, shape: Sequence[int] | None) -> list[onnx.NodeProto]:
    """Return nodes that output `name`, or zeros of a shape that is not known before it runs."""
    if shape is None:
        return [helper.make_node("Identity", [name], [output])]
    return [
        helper.make_node("Constant", [], ["true_shape"], value_ints=shape),
        helper.make_node("Cast", ["brightness"], ["brightness_int"], to=TensorProto.INT64),
        helper.make_node("ReduceMin", ["brightness_int"], ["one"], keepdims=0),  # of a white image
        helper.make_node("Mul", ["true_shape", "one"], ["shape"]),
        helper.make_node("ConstantOfShape", ["shape"], [output]),
    ]


def layout_metadata(
    layout: LayoutName,
    labels: Sequence[str],
    canvas_hw: tuple[int, int],
    *,
    dynamic: bool,
    task: str = "detect",
) -> dict[str, str]:
    """Return what an exporter of that layout writes; YOLOv5 wrote nothing."""
    common = {} if layout == "v5" else export_metadata(labels, canvas_hw, dynamic=dynamic, task=task)
    return common | _LAYOUT_METADATA.get(layout, {})


def export_metadata(
    labels: Sequence[str], canvas_hw: tuple[int, int], *, dynamic: bool, task: str = "detect"
) -> dict[str, str]:
    """Return the metadata that Ultralytics writes: strings of Python literals."""
    return {
        "task": task,
        "names": str(dict(enumerate(labels))),
        "imgsz": str(list(canvas_hw)),
        "stride": "32",
        "batch": "1",
        "args": str({"batch": 1, "dynamic": dynamic, "nms": False}),
    }


def model_file(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    initializers: Sequence[onnx.TensorProto],
    metadata: dict[str, str],
) -> bytes:
    graph = helper.make_graph(nodes, "small", inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    helper.set_model_props(model, metadata)
    return bytes(model.SerializeToString())


def move_outside(tensor: onnx.TensorProto, location: str) -> None:
    """Declare that this tensor's bytes are in another file."""
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location
