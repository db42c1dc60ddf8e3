"""Small real ONNX files in the layouts of Ultralytics exports, whose answers are known beforehand.

A file of `detect()` finds the boxes it was made with, in canvas px; each score is multiplied by the brightest
value of the image (0 to 1), so that the answer depends on the picture: white gives the scores as they are, and
a black square, which no padding brightens, gives nothing. So do those of `planted()`, in every other layout, and
of `segment()`. A file of `blobs()` finds what is there: red and blue rectangles, to the pixel.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

BOXES = ((16, 16, 16, 16, 0, 0.9), (44, 40, 24, 16, 1, 0.8))  # centre x, centre y, width, height, class, score
LABELS = ("plant", "tray")
CANVAS_HW = (64, 64)


def detect(
    boxes=BOXES,
    *,
    labels=LABELS,
    canvas_hw=CANVAS_HW,
    dynamic=False,
    half=False,
    batch=1,
    metadata=(),
    without_metadata=False,
    ballast=0,
    external=None,
):
    """A detect model as bytes. `metadata` is added to what an export says; `ballast`: bytes of weights more.

    `external`: the file in which its boxes lie, instead of in this one.
    """
    rows, columns = 4 + len(labels), max(len(boxes), 4 + len(labels), 7)
    answer = np.zeros((1, rows, columns), np.float32)
    for column, (x, y, width, height, class_id, score) in enumerate(boxes):
        answer[0, :4, column] = x, y, width, height
        answer[0, 4 + class_id, column] = score
    constants = {"boxes": answer[:, :4], "scores": answer[:, 4:], "nothing": np.zeros(1, np.float32)}
    if ballast:
        constants["ballast"] = np.random.default_rng(0).random(ballast // 4, np.float32)
    dtype = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    weights = [helper.make_node("ReduceMax", ["ballast"], ["most"], axes=[0], keepdims=1)] if ballast else []
    nodes = [
        *weights,
        helper.make_node("Mul", ["nothing", "most" if ballast else "nothing"], ["zero"]),
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["pixels"], ["light_nchw"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Squeeze", ["light_nchw", "last_axis"], ["light"]),
        helper.make_node("Mul", ["light", "zero"], ["dark"]),
        helper.make_node("Add", ["boxes", "dark"], ["boxes_of_batch"]),
        helper.make_node("Mul", ["scores", "light"], ["scores_of_batch"]),
        helper.make_node("Concat", ["boxes_of_batch", "scores_of_batch"], ["answer"], axis=1),
        helper.make_node("Cast", ["answer"], ["output0"], to=dtype),
    ]
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    initializers.append(numpy_helper.from_array(np.array([3], np.int64), "last_axis"))
    if external:
        _move_outside(initializers[0], external)
    height, width = ("height", "width") if dynamic else canvas_hw
    batch = "batch" if dynamic else batch
    said = {} if without_metadata else _said(labels, canvas_hw, dynamic=dynamic)
    return _file(
        nodes,
        [helper.make_tensor_value_info("images", dtype, [batch, 3, height, width])],
        [helper.make_tensor_value_info("output0", dtype, [batch, rows, columns])],
        initializers,
        said | dict(metadata),
    )


KINDS = ("raw", "v5", "end_to_end", "nms", "rtdetr", "rtdetr_raw")


def planted(
    kind,
    boxes=BOXES,
    *,
    labels=LABELS,
    canvas_hw=CANVAS_HW,
    dynamic=False,
    half=False,
    batch=1,
    metadata=(),
    without_metadata=False,
):
    """A detect model of one of `KINDS` as bytes; `boxes` as for `detect`."""
    answer, lit = _answer(kind, boxes, len(labels), canvas_hw)
    said = {} if without_metadata or kind == "v5" else _said(labels, canvas_hw, dynamic=dynamic)
    said |= {} if without_metadata else _KIND_SAID.get(kind, {}) | dict(metadata)
    dtype, image = _image(canvas_hw, dynamic=dynamic, half=half, batch=batch)
    return _file(
        _lit("answer", "lit", "output0", dtype),
        [image],
        [
            helper.make_tensor_value_info(
                "output0", dtype, [image.type.tensor_type.shape.dim[0].dim_param or batch, *answer.shape[1:]]
            )
        ],
        [numpy_helper.from_array(answer, "answer"), numpy_helper.from_array(lit, "lit"), _LAST_AXIS],
        said,
    )


def segment(
    masks=(),
    *,
    labels=("bed", "path"),
    kind="raw",
    cell=1,
    emptied=(),
    prototypes_shape=None,
    half=False,
    batch=1,
    metadata=(),
    without_metadata=False,
):
    """A segment model as bytes that finds `masks`: (class, score, (H, W) of bools on its canvas) each.

    `cell`: px of the canvas to a cell of the prototypes, of which there are as many as masks, and two more.
    `emptied`: of these, by number, nothing is in their boxes. `prototypes_shape`: the true one, if not that.
    """
    canvas_hw = masks[0][2].shape if masks else CANVAS_HW
    height, width = canvas_hw
    prototypes = np.full((1, len(masks) + 2, height // cell, width // cell), -1, np.float32)
    boxes = []
    for index, (class_id, score, pixels) in enumerate(masks):
        prototypes[0, index] = pixels.reshape(height // cell, cell, width // cell, cell).mean(axis=(1, 3)) * 2 - 1
        (top, left), (bottom, right) = np.argwhere(pixels).min(axis=0), np.argwhere(pixels).max(axis=0) + 1
        boxes.append(((left + right) / 2, (top + bottom) / 2, right - left, bottom - top, class_id, score))
    answer, lit = _answer(kind, boxes, len(labels), canvas_hw, prototypes.shape[1])
    coefficients = np.zeros((answer.shape[2 if kind == "raw" else 1], prototypes.shape[1]), np.float32)
    coefficients[: len(masks), : len(masks)] = np.eye(len(masks))
    coefficients[list(emptied)] *= 0
    coefficients = coefficients.T[None] if kind == "raw" else coefficients[None]
    axis = 1 if kind == "raw" else 2
    answer = np.concatenate((answer, coefficients), axis)
    lit = np.concatenate((lit, np.zeros_like(coefficients)), axis)
    said = {} if without_metadata or kind == "v5" else _said(labels, canvas_hw, dynamic=False, task="segment")
    said |= {} if without_metadata else _KIND_SAID.get(kind, {}) | dict(metadata)
    dtype, image = _image(canvas_hw, dynamic=False, half=half, batch=batch)
    constants = {
        "answer": answer,
        "lit": lit,
        "shapes": prototypes,
        "unlit": np.zeros_like(prototypes[:, :, :1, :1]),
    }
    return _file(
        [
            *_lit("answer", "lit", "output0", dtype),
            helper.make_node("Unsqueeze", ["light", "last_axis"], ["light4"]),
            helper.make_node("Mul", ["light4", "unlit"], ["dark"]),
            helper.make_node("Add", ["shapes", "dark"], ["shapes_of_batch"]),
            helper.make_node("Cast", ["shapes_of_batch"], ["shapes_cast"], to=dtype),
            *_reshaped("shapes_cast", "output1", prototypes_shape),
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
        said,
    )


MOST = 32


def blobs(task="detect", *, canvas_hw=CANVAS_HW, dynamic=False, labels=LABELS):
    """A model that finds rectangles of up to `MOST` px a side, red ones and, of the other class, blue ones.

    What counts is brightness above a half; grey padding and green are nothing. One that the image's border cuts is
    found as far as it is there. The larger, the surer: 0.5 + 0.45 * area / MOST**2. A mask is what is bright.
    """
    bright = [
        helper.make_node("Gather", ["images", "channels"], ["coloured"], axis=1),
        helper.make_node("Greater", ["coloured", "half"], ["is_bright"]),
        helper.make_node("Cast", ["is_bright"], ["classes"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["classes"], ["there"], axes=[1], keepdims=1),
        helper.make_node("Sub", ["one", "there"], ["not_there"]),
        helper.make_node("Pad", ["not_there", "around", "one"], ["framed"]),
    ]
    corners = [
        *_sliced("framed", (1, 0), (-MOST, -MOST - 1), "free_on_the_left"),
        *_sliced("framed", (0, 1), (-MOST - 1, -MOST), "free_above"),
        helper.make_node("Mul", ["free_on_the_left", "free_above"], ["free"]),
        helper.make_node("Mul", ["free", "there"], ["corner"]),
    ]
    sides = []
    for side, kernel in (("width", lambda length: (1, length)), ("height", lambda length: (length, 1))):
        ends = []
        for length in range(1, MOST + 1):
            name, shape = f"{side}{length}", kernel(length)
            sides.append(helper.make_node("MaxPool", ["framed"], [f"{name}p"], kernel_shape=shape))
            sides += _sliced(f"{name}p", (1, 1), tuple(each - 1 - MOST for each in shape), name)
            ends.append(name)
        sides.append(helper.make_node("Sum", ends, [f"beyond_{side}"]))
        sides.append(helper.make_node("Sub", ["most", f"beyond_{side}"], [side]))
    places = [
        helper.make_node("Mul", ["there", "nothing"], ["zeros"]),
        helper.make_node("Add", ["zeros", "one"], ["ones"]),
        helper.make_node("CumSum", ["ones", "axis_x"], ["x"], exclusive=1),
        helper.make_node("CumSum", ["ones", "axis_y"], ["y"], exclusive=1),
        helper.make_node("Mul", ["width", "half"], ["half_width"]),
        helper.make_node("Mul", ["height", "half"], ["half_height"]),
        helper.make_node("Add", ["x", "half_width"], ["centre_x"]),
        helper.make_node("Add", ["y", "half_height"], ["centre_y"]),
        helper.make_node("Mul", ["width", "height"], ["area"]),
        helper.make_node("Mul", ["area", "sure"], ["surer"]),
        helper.make_node("Add", ["surer", "half"], ["confidence"]),
        helper.make_node("Mul", ["confidence", "corner"], ["score"]),
        helper.make_node("Mul", ["score", "classes"], ["scores"]),
    ]
    columns = ["centre_x", "centre_y", "width", "height", "scores", *(["ones"] if task == "segment" else [])]
    answer = [
        helper.make_node("Concat", columns, ["grid"], axis=1),
        helper.make_node("Reshape", ["grid", "flat"], ["output0"]),
    ]
    if task == "segment":
        answer.append(helper.make_node("Sub", ["there", "half"], ["output1"]))
    _, image = _image(canvas_hw, dynamic=dynamic, half=False, batch=1)
    height, width = ("height", "width") if dynamic else canvas_hw
    batch = "batch" if dynamic else 1
    rows = 6 + (task == "segment")
    outputs = [
        helper.make_tensor_value_info(
            "output0", TensorProto.FLOAT, [batch, rows, "n" if dynamic else height * width]
        )
    ]
    if task == "segment":
        outputs.append(helper.make_tensor_value_info("output1", TensorProto.FLOAT, [batch, 1, height, width]))
    constants = {
        "channels": np.array([0, 2]),
        "around": np.array([0, 0, 1, 1, 0, 0, MOST, MOST]),
        "flat": np.array([0, rows, -1]),
        "axes": np.array([2, 3]),
        "axis_x": np.array(3),
        "axis_y": np.array(2),
        **{name: np.array(value, np.float32) for name, value in _NUMBERS.items()},
    }
    return _file(
        [*bright, *corners, *sides, *places, *answer],
        [image],
        outputs,
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
        _said(labels, canvas_hw, dynamic=dynamic, task=task),
    )


def classify(
    labels=("red", "green", "blue"), *, canvas_hw=(32, 32), half=False, batch=1, softmax=True, metadata=()
):
    """A classify model as bytes: how much there is of each colour, through a softmax if there is one."""
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
        _said(labels, canvas_hw, dynamic=False, task="classify") | dict(metadata),
    )


def passing(value, *, dtype=TensorProto.FLOAT, declared=None, labels=LABELS, metadata=()):
    """A detect model that answers every image with `value`.

    `declared`: the shape that the file promises, and then nobody knows the true one before it runs.
    """
    value = np.asarray(value)
    constants = {"value": value}
    nodes = [helper.make_node("Identity", ["value"], ["output0"])]
    if declared is not None:
        constants |= {"shape": np.array(value.shape, np.int64), "least": np.array(-1, np.float32)}
        nodes = [
            helper.make_node("ReduceMax", ["images"], ["light"], keepdims=0),
            helper.make_node("Greater", ["light", "least"], ["is_an_image"]),
            helper.make_node("Cast", ["is_an_image"], ["one"], to=TensorProto.INT64),
            helper.make_node("Mul", ["shape", "one"], ["true_shape"]),
            helper.make_node("Reshape", ["value", "true_shape"], ["output0"], allowzero=1),
        ]
    return _file(
        nodes,
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, *CANVAS_HW])],
        [helper.make_tensor_value_info("output0", dtype, list(value.shape) if declared is None else declared)],
        [numpy_helper.from_array(each, name) for name, each in constants.items()],
        _said(labels, CANVAS_HW, dynamic=False) | dict(metadata),
    )


def failing():
    """A model that loads, declares a good shape, and fails on every image."""
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
        _said(LABELS, CANVAS_HW, dynamic=True),
    )


_KIND_SAID = {
    "end_to_end": {"end2end": "True"},
    "nms": {"end2end": "False", "args": "{'nms': True}"},
    "rtdetr": {"head": "RTDETRDecoder"},
    "rtdetr_raw": {"head": "RTDETRDecoder"},
}
_LAST_AXIS = numpy_helper.from_array(np.array([3], np.int64), "last_axis")
_NUMBERS = {"half": 0.5, "one": 1, "most": MOST, "sure": 0.45 / MOST**2, "nothing": 0}


def _image(canvas_hw, *, dynamic, half, batch):
    dtype = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    shape = ["batch", 3, "height", "width"] if dynamic else [batch, 3, *canvas_hw]
    return dtype, helper.make_tensor_value_info("images", dtype, shape)


def _lit(answer, lit, output, dtype):
    """The answer, of which what is `lit` (1, not 0) is multiplied by the image's brightest value."""
    return [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["pixels"], ["light_nchw"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Squeeze", ["light_nchw", "last_axis"], ["light"]),
        helper.make_node("Pow", ["light", lit], ["share"]),
        helper.make_node("Mul", [answer, "share"], ["seen"]),
        helper.make_node("Cast", ["seen"], [output], to=dtype),
    ]


def _answer(kind, boxes, classes, canvas_hw, masks=0):
    """The output of that kind for boxes (canvas px), and which of its numbers are scores."""
    height, width = canvas_hw
    xywh = np.array(boxes, np.float32).reshape(-1, 6)
    corners = np.concatenate((xywh[:, :2] - xywh[:, 2:4] / 2, xywh[:, :2] + xywh[:, 2:4] / 2), axis=1)
    shares = xywh[:, :4] / (width, height, width, height)
    scores = np.zeros((len(xywh), classes), np.float32)
    known = np.flatnonzero(xywh[:, 4] < classes)
    scores[known, xywh[known, 4].astype(int)] = xywh[known, 5]
    sure = np.ones((len(xywh), 1), np.float32)
    single = xywh[:, [5, 4]]
    columns, first = {
        "raw": ([xywh[:, :4], scores], 4),
        "v5": ([xywh[:, :4], sure, scores], 4),
        "end_to_end": ([corners, single], 4),
        "nms": ([corners, single], 4),
        "rtdetr": ([shares, single], 4),
        "rtdetr_raw": ([shares, scores], 4),
    }[kind]
    rows = np.concatenate(columns, axis=1).astype(np.float32)
    count = max(len(rows), rows.shape[1] + masks + 2)
    if kind == "v5":
        count = 3 * sum((height // stride) * (width // stride) for stride in (8, 16, 32))
    answer = np.zeros((1, count, rows.shape[1]), np.float32)
    answer[0, : len(rows)] = rows
    lit = np.zeros_like(answer)
    lit[:, :, first : first + (classes if kind in {"raw", "rtdetr_raw"} else 1)] = 1
    return (answer.transpose(0, 2, 1), lit.transpose(0, 2, 1)) if kind == "raw" else (answer, lit)


def _reshaped(name, output, shape):
    """As it is, or zeros of a shape that nobody knows before it runs."""
    if shape is None:
        return [helper.make_node("Identity", [name], [output])]
    return [
        helper.make_node("Constant", [], ["true_shape"], value_ints=shape),
        helper.make_node("Cast", ["light"], ["lights"], to=TensorProto.INT64),
        helper.make_node("ReduceMin", ["lights"], ["one"], keepdims=0),  # a white image's
        helper.make_node("Mul", ["true_shape", "one"], ["shape"]),
        helper.make_node("ConstantOfShape", ["shape"], [output]),
    ]


def _sliced(name, begin, end, output):
    """`name` from row and column `begin` to before `end`."""
    ends = {f"{output}_begin": begin, f"{output}_end": end}
    constants = [helper.make_node("Constant", [], [each], value_ints=value) for each, value in ends.items()]
    return [*constants, helper.make_node("Slice", [name, *ends, "axes"], [output])]


def _said(labels, canvas_hw, *, dynamic, task="detect"):
    """What Ultralytics writes beside the graph: Python literals as text."""
    return {
        "task": task,
        "names": str(dict(enumerate(labels))),
        "imgsz": str(list(canvas_hw)),
        "stride": "32",
        "batch": "1",
        "args": str({"batch": 1, "dynamic": dynamic, "nms": False}),
    }


def _file(nodes, inputs, outputs, initializers, metadata):
    graph = helper.make_graph(nodes, "small", inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    helper.set_model_props(model, metadata)
    return model.SerializeToString()


def _move_outside(tensor, location):
    """Say that this tensor's bytes lie in another file."""
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location
