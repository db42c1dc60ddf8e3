"""Small real ONNX files in the layouts of Ultralytics exports, whose detections are known beforehand.

- `detect()`, `detect_in_layout()` and `segment()` return the boxes and masks they were made with, in canvas px.
  Each score is multiplied by the brightest value of the image (0 to 1), so that the output depends on the image: a
  white image gives the scores as they are, and a black square, which no padding brightens, gives nothing.
- `blob_detector()` finds what an image shows: red and blue rectangles, to the pixel.
- `classify()` returns how much of each colour an image has.
- `constant_output()` and `failing()` are for wrong and failing outputs.
"""

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


def detect(
    boxes: Sequence[Box] = BOXES,
    *,
    labels: Sequence[str] = LABELS,
    canvas_hw: tuple[int, int] = CANVAS_HW,
    dynamic: bool = False,
    half: bool = False,
    batch: int = 1,
    metadata: Mapping[str, str] | None = None,
    without_metadata: bool = False,
    ballast: int = 0,
    external: str | None = None,
) -> bytes:
    """Return a detect model in the layout "raw".

    Args:
        boxes: What it detects.
        labels: Its classes.
        canvas_hw: Its input's (height, width) in px.
        dynamic: Its batch, height and width are dynamic.
        half: Its input and output are float16.
        batch: Its fixed batch size.
        metadata: Added to an export's metadata.
        without_metadata: It has no metadata but `metadata`.
        ballast: Bytes of additional weights.
        external: The file that contains its boxes, instead of this one.
    """
    rows, columns = 4 + len(labels), max(len(boxes), 4 + len(labels), 7)
    answer = np.zeros((1, rows, columns), np.float32)
    for column, (*xywh, class_id, score) in enumerate(boxes):
        answer[0, :4, column] = xywh
        answer[0, 4 + int(class_id), column] = score
    constants = {"boxes": answer[:, :4], "scores": answer[:, 4:], "nothing": np.zeros(1, np.float32)}
    if ballast:
        constants["ballast"] = np.random.default_rng(0).random(ballast // 4, np.float32)
    dtype = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    weights = [helper.make_node("ReduceMax", ["ballast"], ["maximum"], axes=[0], keepdims=1)] if ballast else []
    nodes = [
        *weights,
        helper.make_node("Mul", ["nothing", "maximum" if ballast else "nothing"], ["zero"]),
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["pixels"], ["brightness_nchw"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Squeeze", ["brightness_nchw", "last_axis"], ["brightness"]),
        helper.make_node("Mul", ["brightness", "zero"], ["zeros_of_batch"]),
        helper.make_node("Add", ["boxes", "zeros_of_batch"], ["boxes_of_batch"]),
        helper.make_node("Mul", ["scores", "brightness"], ["scores_of_batch"]),
        helper.make_node("Concat", ["boxes_of_batch", "scores_of_batch"], ["answer"], axis=1),
        helper.make_node("Cast", ["answer"], ["output0"], to=dtype),
    ]
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    initializers.append(numpy_helper.from_array(np.array([3], np.int64), "last_axis"))
    if external:
        _move_outside(initializers[0], external)
    shape_hw: tuple[str | int, str | int] = ("height", "width") if dynamic else canvas_hw
    batch_size = "batch" if dynamic else batch
    written = {} if without_metadata else _export_metadata(labels, canvas_hw, dynamic=dynamic)
    return _file(
        nodes,
        [helper.make_tensor_value_info("images", dtype, [batch_size, 3, *shape_hw])],
        [helper.make_tensor_value_info("output0", dtype, [batch_size, rows, columns])],
        initializers,
        written | dict(metadata or {}),
    )


LAYOUTS: tuple[LayoutName, ...] = ("raw", "v5", "end_to_end", "nms", "rtdetr", "rtdetr_raw")


def detect_in_layout(
    layout: LayoutName,
    boxes: Sequence[Box] = BOXES,
    *,
    labels: Sequence[str] = LABELS,
    canvas_hw: tuple[int, int] = CANVAS_HW,
    dynamic: bool = False,
    half: bool = False,
    batch: int = 1,
    metadata: Mapping[str, str] | None = None,
    without_metadata: bool = False,
) -> bytes:
    """Return a detect model in any of `LAYOUTS`; the other arguments are those of `detect`."""
    answer, is_score = _answer(layout, boxes, len(labels), canvas_hw)
    written = _layout_metadata(layout, labels, canvas_hw, dynamic=dynamic) | dict(metadata or {})
    dtype, image = _image(canvas_hw, dynamic=dynamic, half=half, batch=batch)
    return _file(
        _scaled_by_brightness("answer", "is_score", "output0", dtype),
        [image],
        [
            helper.make_tensor_value_info(
                "output0", dtype, [image.type.tensor_type.shape.dim[0].dim_param or batch, *answer.shape[1:]]
            )
        ],
        [numpy_helper.from_array(answer, "answer"), numpy_helper.from_array(is_score, "is_score"), _LAST_AXIS],
        {} if without_metadata else written,
    )


def segment(
    masks: Sequence[Mask] = (),
    *,
    labels: Sequence[str] = ("bed", "path"),
    kind: LayoutName = "raw",
    cell: int = 1,
    emptied: Sequence[int] = (),
    prototypes_shape: Sequence[int] | None = None,
    half: bool = False,
    batch: int = 1,
    metadata: Mapping[str, str] | None = None,
    without_metadata: bool = False,
) -> bytes:
    """Return a segment model that detects `masks`.

    Args:
        masks: What it detects.
        labels: Its classes.
        kind: Its layout.
        cell: Canvas px per cell of the prototypes, of which there are two more than masks.
        emptied: Indices of masks that have no pixel inside their boxes.
        prototypes_shape: The shape of the prototypes at run time, if it is not the declared one.
        half: Its input and outputs are float16.
        batch: Its fixed batch size.
        metadata: Added to an export's metadata.
        without_metadata: It has no metadata.
    """
    canvas_hw = (masks[0][2].shape[0], masks[0][2].shape[1]) if masks else CANVAS_HW
    height, width = canvas_hw
    prototypes = np.full((1, len(masks) + 2, height // cell, width // cell), -1, np.float32)
    boxes: list[Box] = []
    for index, (class_id, score, pixels) in enumerate(masks):
        prototypes[0, index] = pixels.reshape(height // cell, cell, width // cell, cell).mean(axis=(1, 3)) * 2 - 1
        (top, left), (bottom, right) = np.argwhere(pixels).min(axis=0), np.argwhere(pixels).max(axis=0) + 1
        boxes.append(((left + right) / 2, (top + bottom) / 2, right - left, bottom - top, class_id, score))
    answer, is_score = _answer(kind, boxes, len(labels), canvas_hw, prototypes.shape[1])
    coefficients = np.zeros((answer.shape[2 if kind == "raw" else 1], prototypes.shape[1]), np.float32)
    coefficients[: len(masks), : len(masks)] = np.eye(len(masks))
    coefficients[list(emptied)] *= 0
    coefficients = coefficients.T[None] if kind == "raw" else coefficients[None]
    axis = 1 if kind == "raw" else 2
    answer = np.concatenate((answer, coefficients), axis)
    is_score = np.concatenate((is_score, np.zeros_like(coefficients)), axis)
    written = _layout_metadata(kind, labels, canvas_hw, dynamic=False, task="segment") | dict(metadata or {})
    dtype, image = _image(canvas_hw, dynamic=False, half=half, batch=batch)
    constants = {
        "answer": answer,
        "is_score": is_score,
        "prototypes": prototypes,
        "zeros": np.zeros_like(prototypes[:, :, :1, :1]),
    }
    return _file(
        [
            *_scaled_by_brightness("answer", "is_score", "output0", dtype),
            helper.make_node("Unsqueeze", ["brightness", "last_axis"], ["brightness4"]),
            helper.make_node("Mul", ["brightness4", "zeros"], ["zeros_of_batch"]),
            helper.make_node("Add", ["prototypes", "zeros_of_batch"], ["prototypes_of_batch"]),
            helper.make_node("Cast", ["prototypes_of_batch"], ["prototypes_cast"], to=dtype),
            *_with_runtime_shape("prototypes_cast", "output1", prototypes_shape),
        ],
        [image],
        [
            helper.make_tensor_value_info("output0", dtype, [batch, *answer.shape[1:]]),
            helper.make_tensor_value_info(
                "output1",
                dtype,
                ["b", prototypes.shape[1], "h", "w"] if prototypes_shape else [batch, *prototypes.shape[1:]],
            ),
        ],
        [*(numpy_helper.from_array(value, name) for name, value in constants.items()), _LAST_AXIS],
        {} if without_metadata else written,
    )


MAX_BLOB_SIDE = 32


def blob_detector(
    task: Literal["detect", "segment"] = "detect",
    *,
    canvas_hw: tuple[int, int] = CANVAS_HW,
    dynamic: bool = False,
    labels: Sequence[str] = LABELS,
) -> bytes:
    """Return a model that detects red rectangles, and blue ones as its second class.

    They may have up to `MAX_BLOB_SIDE` px a side. A pixel belongs to one if its red or blue is above a half; grey
    padding and green are ignored. A rectangle that the image's border cuts is detected as far as it is visible.
    Its score is 0.5 + 0.45 * area / MAX_BLOB_SIDE**2, and its mask are its bright pixels.
    """
    bright = [
        helper.make_node("Gather", ["images", "channels"], ["coloured"], axis=1),
        helper.make_node("Greater", ["coloured", "half"], ["is_bright"]),
        helper.make_node("Cast", ["is_bright"], ["classes"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["classes"], ["is_bright_any"], axes=[1], keepdims=1),
        helper.make_node("Sub", ["one", "is_bright_any"], ["is_dark"]),
        helper.make_node("Pad", ["is_dark", "around", "one"], ["framed"]),
    ]
    corners = [
        *_sliced("framed", (1, 0), (-MAX_BLOB_SIDE, -MAX_BLOB_SIDE - 1), "free_on_the_left"),
        *_sliced("framed", (0, 1), (-MAX_BLOB_SIDE - 1, -MAX_BLOB_SIDE), "free_above"),
        helper.make_node("Mul", ["free_on_the_left", "free_above"], ["free"]),
        helper.make_node("Mul", ["free", "is_bright_any"], ["corner"]),
    ]
    sides = []
    for side, kernel in (("width", lambda length: (1, length)), ("height", lambda length: (length, 1))):
        ends = []
        for length in range(1, MAX_BLOB_SIDE + 1):
            name, shape = f"{side}{length}", kernel(length)
            sides.append(helper.make_node("MaxPool", ["framed"], [f"{name}p"], kernel_shape=shape))
            sides += _sliced(f"{name}p", (1, 1), tuple(each - 1 - MAX_BLOB_SIDE for each in shape), name)
            ends.append(name)
        sides.append(helper.make_node("Sum", ends, [f"beyond_{side}"]))
        sides.append(helper.make_node("Sub", ["max_side", f"beyond_{side}"], [side]))
    boxes = [
        helper.make_node("Mul", ["is_bright_any", "nothing"], ["zeros"]),
        helper.make_node("Add", ["zeros", "one"], ["ones"]),
        helper.make_node("CumSum", ["ones", "axis_x"], ["x"], exclusive=1),
        helper.make_node("CumSum", ["ones", "axis_y"], ["y"], exclusive=1),
        helper.make_node("Mul", ["width", "half"], ["half_width"]),
        helper.make_node("Mul", ["height", "half"], ["half_height"]),
        helper.make_node("Add", ["x", "half_width"], ["centre_x"]),
        helper.make_node("Add", ["y", "half_height"], ["centre_y"]),
        helper.make_node("Mul", ["width", "height"], ["area"]),
        helper.make_node("Mul", ["area", "score_per_px"], ["area_score"]),
        helper.make_node("Add", ["area_score", "half"], ["confidence"]),
        helper.make_node("Mul", ["confidence", "corner"], ["score"]),
        helper.make_node("Mul", ["score", "classes"], ["scores"]),
    ]
    columns = ["centre_x", "centre_y", "width", "height", "scores", *(["ones"] if task == "segment" else [])]
    answer = [
        helper.make_node("Concat", columns, ["grid"], axis=1),
        helper.make_node("Reshape", ["grid", "flat"], ["output0"]),
    ]
    if task == "segment":
        answer.append(helper.make_node("Sub", ["is_bright_any", "half"], ["output1"]))
    _, image = _image(canvas_hw, dynamic=dynamic, half=False, batch=1)
    shape_hw: tuple[str | int, str | int] = ("height", "width") if dynamic else canvas_hw
    box_count = "n" if dynamic else canvas_hw[0] * canvas_hw[1]
    batch_size = "batch" if dynamic else 1
    rows = 6 + (task == "segment")
    outputs = [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [batch_size, rows, box_count])]
    if task == "segment":
        outputs.append(helper.make_tensor_value_info("output1", TensorProto.FLOAT, [batch_size, 1, *shape_hw]))
    constants = {
        "channels": np.array([0, 2]),
        "around": np.array([0, 0, 1, 1, 0, 0, MAX_BLOB_SIDE, MAX_BLOB_SIDE]),
        "flat": np.array([0, rows, -1]),
        "axes": np.array([2, 3]),
        "axis_x": np.array(3),
        "axis_y": np.array(2),
        **{name: np.array(value, np.float32) for name, value in _NUMBERS.items()},
    }
    return _file(
        [*bright, *corners, *sides, *boxes, *answer],
        [image],
        outputs,
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
        _export_metadata(labels, canvas_hw, dynamic=dynamic, task=task),
    )


def classify(
    labels: Sequence[str] = ("red", "green", "blue"),
    *,
    canvas_hw: tuple[int, int] = (32, 32),
    half: bool = False,
    batch: int = 1,
    softmax: bool = True,
    metadata: Mapping[str, str] | None = None,
) -> bytes:
    """Return a classify model whose scores are the share of each colour, after a softmax if it has one."""
    dtype, image = _image(canvas_hw, dynamic=False, half=half, batch=batch)
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["means"], axes=[2, 3], keepdims=0),
        helper.make_node("Mul", ["means", "four"], ["logits"]),
        helper.make_node("Softmax" if softmax else "Identity", ["logits"], ["scores"]),
        helper.make_node("Cast", ["scores"], ["output0"], to=dtype),
    ]
    return _file(
        nodes,
        [image],
        [helper.make_tensor_value_info("output0", dtype, [batch, 3])],
        [numpy_helper.from_array(np.array(4, np.float32), "four")],
        _export_metadata(labels, canvas_hw, dynamic=False, task="classify") | dict(metadata or {}),
    )


def constant_output(
    value: npt.ArrayLike,
    *,
    dtype: int = TensorProto.FLOAT,
    declared: Sequence[int | str] | None = None,
    labels: Sequence[str] = LABELS,
    metadata: Mapping[str, str] | None = None,
) -> bytes:
    """Return a detect model that outputs `value` for every image.

    `declared` is the output's shape in the file; then the true shape is not known before it runs.
    """
    value = np.asarray(value)
    constants = {"value": value}
    shape: Sequence[int | str] = value.shape
    nodes = [helper.make_node("Identity", ["value"], ["output0"])]
    if declared is not None:
        constants |= {"shape": np.array(value.shape, np.int64), "below_black": np.array(-1, np.float32)}
        shape = declared
        nodes = [
            helper.make_node("ReduceMax", ["images"], ["brightness"], keepdims=0),
            helper.make_node("Greater", ["brightness", "below_black"], ["true"]),
            helper.make_node("Cast", ["true"], ["one"], to=TensorProto.INT64),
            helper.make_node("Mul", ["shape", "one"], ["true_shape"]),
            helper.make_node("Reshape", ["value", "true_shape"], ["output0"], allowzero=1),
        ]
    return _file(
        nodes,
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, *CANVAS_HW])],
        [helper.make_tensor_value_info("output0", dtype, list(shape))],
        [numpy_helper.from_array(each, name) for name, each in constants.items()],
        _export_metadata(labels, CANVAS_HW, dynamic=False) | dict(metadata or {}),
    )


def failing() -> bytes:
    """Return a detect model that loads, declares a valid shape, and fails on every image."""
    nodes = [
        helper.make_node("Shape", ["images"], ["shape"]),
        helper.make_node("Add", ["shape", "one"], ["wrong"]),
        helper.make_node("Reshape", ["images", "wrong"], ["flat"]),
        helper.make_node("Squeeze", ["flat"], ["output0"]),
    ]
    return _file(
        nodes,
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, "height", "width"])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 6, 84])],
        [numpy_helper.from_array(np.ones(4, np.int64), "one")],
        _export_metadata(LABELS, CANVAS_HW, dynamic=True),
    )


_LAYOUT_METADATA: Mapping[str, dict[str, str]] = {
    "end_to_end": {"end2end": "True"},
    "nms": {"end2end": "False", "args": "{'nms': True}"},
    "rtdetr": {"head": "RTDETRDecoder"},
    "rtdetr_raw": {"head": "RTDETRDecoder"},
}
_LAST_AXIS = numpy_helper.from_array(np.array([3], np.int64), "last_axis")
_NUMBERS = {
    "half": 0.5,
    "one": 1,
    "max_side": MAX_BLOB_SIDE,
    "score_per_px": 0.45 / MAX_BLOB_SIDE**2,
    "nothing": 0,
}


def _image(
    canvas_hw: tuple[int, int], *, dynamic: bool, half: bool, batch: int
) -> tuple[int, onnx.ValueInfoProto]:
    dtype = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    shape: list[str | int] = ["batch", 3, "height", "width"] if dynamic else [batch, 3, *canvas_hw]
    return dtype, helper.make_tensor_value_info("images", dtype, shape)


def _scaled_by_brightness(answer: str, is_score: str, output: str, dtype: int) -> list[onnx.NodeProto]:
    """Return nodes that multiply the scores of `answer` by the image's brightest value; `is_score` is 0 or 1."""
    return [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["pixels"], ["brightness_nchw"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Squeeze", ["brightness_nchw", "last_axis"], ["brightness"]),
        helper.make_node("Pow", ["brightness", is_score], ["factor"]),
        helper.make_node("Mul", [answer, "factor"], ["scaled"]),
        helper.make_node("Cast", ["scaled"], [output], to=dtype),
    ]


def _answer(
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


def _with_runtime_shape(name: str, output: str, shape: Sequence[int] | None) -> list[onnx.NodeProto]:
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


def _sliced(name: str, begin: Sequence[int], end: Sequence[int], output: str) -> list[onnx.NodeProto]:
    """Return nodes that slice `name` from row and column `begin` to before `end`."""
    ends = {f"{output}_begin": begin, f"{output}_end": end}
    constants = [helper.make_node("Constant", [], [each], value_ints=value) for each, value in ends.items()]
    return [*constants, helper.make_node("Slice", [name, *ends, "axes"], [output])]


def _layout_metadata(
    layout: LayoutName,
    labels: Sequence[str],
    canvas_hw: tuple[int, int],
    *,
    dynamic: bool,
    task: str = "detect",
) -> dict[str, str]:
    """Return what an exporter of that layout writes; YOLOv5 wrote nothing."""
    common = {} if layout == "v5" else _export_metadata(labels, canvas_hw, dynamic=dynamic, task=task)
    return common | _LAYOUT_METADATA.get(layout, {})


def _export_metadata(
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


def _file(
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


def _move_outside(tensor: onnx.TensorProto, location: str) -> None:
    """Declare that this tensor's bytes are in another file."""
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location
