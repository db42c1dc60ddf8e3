"""A real ONNX file that detects what an image shows: red and blue rectangles, to the pixel."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from testing.model_parts import CANVAS_HW, LABELS, export_metadata, image_input, model_file

MAX_BLOB_SIDE = 32
_NUMBERS = {
    "half": 0.5,
    "one": 1,
    "max_side": MAX_BLOB_SIDE,
    "score_per_px": 0.45 / MAX_BLOB_SIDE**2,
    "nothing": 0,
}


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
    _, image = image_input(canvas_hw, dynamic=dynamic, half=False, batch=1)
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
    return model_file(
        [*bright, *corners, *sides, *boxes, *answer],
        [image],
        outputs,
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
        export_metadata(labels, canvas_hw, dynamic=dynamic, task=task),
    )


def _sliced(name: str, begin: Sequence[int], end: Sequence[int], output: str) -> list[onnx.NodeProto]:
    """Return nodes that slice `name` from row and column `begin` to before `end`."""
    ends = {f"{output}_begin": begin, f"{output}_end": end}
    constants = [helper.make_node("Constant", [], [each], value_ints=value) for each, value in ends.items()]
    return [*constants, helper.make_node("Slice", [name, *ends, "axes"], [output])]
