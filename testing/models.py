"""Small real ONNX files in the layouts of Ultralytics exports, whose detections are known beforehand.

- `detect()`, `detect_in_layout()` and `segment()` return the boxes and masks they were made with, in canvas px.
  Each score is multiplied by the brightest value of the image (0 to 1), so that the output depends on the image: a
  white image gives the scores as they are, and a black square, which no padding brightens, gives nothing.
- `blob_detector()` finds what an image shows: red and blue rectangles, to the pixel.
- `classify()` returns how much of each colour an image has.
- `constant_output()` and `failing()` are for wrong and failing outputs.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper

from testing.blob_model import blob_detector
from testing.model_parts import (
    BOXES,
    CANVAS_HW,
    LABELS,
    LAST_AXIS,
    LAYOUTS,
    Box,
    LayoutName,
    Mask,
    export_metadata,
    image_input,
    layout_metadata,
    layout_output,
    model_file,
    move_outside,
    scaled_by_brightness,
    with_runtime_shape,
)

__all__ = [
    "BOXES",
    "CANVAS_HW",
    "LABELS",
    "LAYOUTS",
    "Box",
    "LayoutName",
    "Mask",
    "blob_detector",
    "classify",
    "constant_output",
    "detect",
    "detect_in_layout",
    "failing",
    "segment",
]


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
        move_outside(initializers[0], external)
    shape_hw: tuple[str | int, str | int] = ("height", "width") if dynamic else canvas_hw
    batch_size = "batch" if dynamic else batch
    written = {} if without_metadata else export_metadata(labels, canvas_hw, dynamic=dynamic)
    return model_file(
        nodes,
        [helper.make_tensor_value_info("images", dtype, [batch_size, 3, *shape_hw])],
        [helper.make_tensor_value_info("output0", dtype, [batch_size, rows, columns])],
        initializers,
        written | dict(metadata or {}),
    )


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
    answer, is_score = layout_output(layout, boxes, len(labels), canvas_hw)
    written = layout_metadata(layout, labels, canvas_hw, dynamic=dynamic) | dict(metadata or {})
    dtype, image = image_input(canvas_hw, dynamic=dynamic, half=half, batch=batch)
    return model_file(
        scaled_by_brightness("answer", "is_score", "output0", dtype),
        [image],
        [
            helper.make_tensor_value_info(
                "output0", dtype, [image.type.tensor_type.shape.dim[0].dim_param or batch, *answer.shape[1:]]
            )
        ],
        [numpy_helper.from_array(answer, "answer"), numpy_helper.from_array(is_score, "is_score"), LAST_AXIS],
        dict(metadata or {}) if without_metadata else written,
    )


def segment(
    masks: Sequence[Mask] = (),
    *,
    labels: Sequence[str] = ("bed", "path"),
    kind: LayoutName = "raw",
    cell: int = 1,
    emptied: Sequence[int] = (),
    prototypes_shape: Sequence[int] | None = None,
    prototypes_value: float | None = None,
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
        prototypes_value: A value that one cell of the first prototype has, such as NaN.
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
    if prototypes_value is not None:
        prototypes[0, 0, 0, 0] = prototypes_value
    answer, is_score = layout_output(kind, boxes, len(labels), canvas_hw, prototypes.shape[1])
    coefficients = np.zeros((answer.shape[2 if kind == "raw" else 1], prototypes.shape[1]), np.float32)
    coefficients[: len(masks), : len(masks)] = np.eye(len(masks))
    coefficients[list(emptied)] *= 0
    coefficients = coefficients.T[None] if kind == "raw" else coefficients[None]
    axis = 1 if kind == "raw" else 2
    answer = np.concatenate((answer, coefficients), axis)
    is_score = np.concatenate((is_score, np.zeros_like(coefficients)), axis)
    written = layout_metadata(kind, labels, canvas_hw, dynamic=False, task="segment") | dict(metadata or {})
    dtype, image = image_input(canvas_hw, dynamic=False, half=half, batch=batch)
    constants = {
        "answer": answer,
        "is_score": is_score,
        "prototypes": prototypes,
        "zeros": np.zeros_like(prototypes[:, :, :1, :1]),
    }
    return model_file(
        [
            *scaled_by_brightness("answer", "is_score", "output0", dtype),
            helper.make_node("Unsqueeze", ["brightness", "last_axis"], ["brightness4"]),
            helper.make_node("Mul", ["brightness4", "zeros"], ["zeros_of_batch"]),
            helper.make_node("Add", ["prototypes", "zeros_of_batch"], ["prototypes_of_batch"]),
            helper.make_node("Cast", ["prototypes_of_batch"], ["prototypes_cast"], to=dtype),
            *with_runtime_shape("prototypes_cast", "output1", prototypes_shape),
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
        [*(numpy_helper.from_array(value, name) for name, value in constants.items()), LAST_AXIS],
        {} if without_metadata else written,
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
    dtype, image = image_input(canvas_hw, dynamic=False, half=half, batch=batch)
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["means"], axes=[2, 3], keepdims=0),
        helper.make_node("Mul", ["means", "four"], ["logits"]),
        helper.make_node("Softmax" if softmax else "Identity", ["logits"], ["scores"]),
        helper.make_node("Cast", ["scores"], ["output0"], to=dtype),
    ]
    return model_file(
        nodes,
        [image],
        [helper.make_tensor_value_info("output0", dtype, [batch, 3])],
        [numpy_helper.from_array(np.array(4, np.float32), "four")],
        export_metadata(labels, canvas_hw, dynamic=False, task="classify") | dict(metadata or {}),
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
    return model_file(
        nodes,
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, *CANVAS_HW])],
        [helper.make_tensor_value_info("output0", dtype, list(shape))],
        [numpy_helper.from_array(each, name) for name, each in constants.items()],
        export_metadata(labels, CANVAS_HW, dynamic=False) | dict(metadata or {}),
    )


def failing() -> bytes:
    """Return a detect model that loads, declares a valid shape, and fails on every image."""
    nodes = [
        helper.make_node("Shape", ["images"], ["shape"]),
        helper.make_node("Add", ["shape", "one"], ["wrong"]),
        helper.make_node("Reshape", ["images", "wrong"], ["flat"]),
        helper.make_node("Squeeze", ["flat"], ["output0"]),
    ]
    return model_file(
        nodes,
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, "height", "width"])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 6, 84])],
        [numpy_helper.from_array(np.ones(4, np.int64), "one")],
        export_metadata(LABELS, CANVAS_HW, dynamic=True),
    )
