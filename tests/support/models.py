"""Small real ONNX files in the raw layout of Ultralytics exports, whose answers are known beforehand.

A file of `detect()` finds the boxes it was made with, in canvas px; each score is multiplied by the brightest
value of the image (0 to 1), so that the answer depends on the picture: white gives the scores as they are, and
a black square, which no padding brightens, gives nothing.
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


def _said(labels, canvas_hw, *, dynamic):
    """What Ultralytics writes beside the graph: Python literals as text."""
    return {
        "task": "detect",
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
