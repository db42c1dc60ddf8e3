"""What a file says of itself, as tables: metadata and shapes to an Export, or to a sentence."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InvalidModel
from shared.ml.export import Export, read_export
from shared.ml.output_layout import Layout, TensorInfo

STATIC = TensorInfo("images", "tensor(float)", (1, 3, 480, 640))
DYNAMIC = TensorInfo("images", "tensor(float)", (None, 3, None, None))
RAW = TensorInfo("output0", "tensor(float)", (1, 6, 8400))
SAID = {
    "task": "detect",
    "names": "{0: 'plant', 1: 'tray'}",
    "imgsz": "[480, 640]",
    "stride": "32",
    "args": "{'nms': False}",
}


def read(metadata=None, image=STATIC, output=RAW, *, model_type="detect"):
    return read_export(model_type, SAID if metadata is None else metadata, [image], [output])


def said(**changes):
    return {name: value for name, value in (SAID | changes).items() if value is not None}


def test_a_static_export():
    assert read() == Export(
        layout=Layout(kind="raw", labels=("plant", "tray")),
        input_name="images",
        dtype="float32",
        canvas_hw=(480, 640),
        dynamic=False,
        batch=1,
        stride=32,
    )


def test_a_file_without_metadata_is_known_by_its_shapes():
    export = read({})
    assert (export.labels, export.canvas_hw, export.stride) == (("class0", "class1"), (480, 640), 32)


@pytest.mark.parametrize(
    ("shape", "imgsz", "canvas_hw", "dynamic", "batch"),
    [
        ((1, 3, 480, 640), "[640, 640]", (480, 640), False, 1),  # the tensor, not the metadata
        ((4, 3, 480, 640), None, (480, 640), False, 4),
        ((None, 3, 480, 640), None, (480, 640), False, None),
        ((None, 3, None, None), "[480, 640]", (480, 640), True, None),
        ((None, 3, None, None), "320", (320, 320), True, None),
        ((None, 3, None, None), "(320, 352)", (320, 352), True, None),
        ((None, 3, None, None), None, (640, 640), True, None),
        ((1, None, None, None), None, (640, 640), True, 1),
    ],
)
def test_the_canvas_and_the_batch(shape, imgsz, canvas_hw, dynamic, batch):
    export = read(said(imgsz=imgsz), TensorInfo("images", "tensor(float)", shape))
    assert (export.canvas_hw, export.dynamic, export.batch) == (canvas_hw, dynamic, batch)


def test_half_precision():
    assert read(image=TensorInfo("images", "tensor(float16)", (1, 3, 64, 64))).dtype == "float16"


@pytest.mark.parametrize(("text", "stride"), [(None, 32), ("", 32), ("32", 32), ("64", 64), ("8", 32)])
def test_the_stride_is_at_least_32(text, stride):
    assert read(said(stride=text)).stride == stride


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        ("{0: 'plant', 1: 'tray'}", ("plant", "tray")),
        ("{1: 'tray', 0: 'plant'}", ("plant", "tray")),
        ("['plant', 'tray']", ("plant", "tray")),
        ("('plant', 'tray')", ("plant", "tray")),
        ("{0: 'pot', 1: 'pot'}", ("pot", "pot")),
        ("{0: 'größe', 1: '苗'}", ("größe", "苗")),
        ("{0: 1, 1: None}", ("1", "None")),
    ],
)
def test_labels_come_in_the_order_of_their_ids(names, labels):
    assert read(said(names=names)).labels == labels


@pytest.mark.parametrize(
    "shape", [(None, None, None), (None, 6, None), (1, None, 8400), (None, 6, 8400), (1, 6, 9)]
)
def test_an_output_may_leave_open_what_the_names_say(shape):
    assert read(output=TensorInfo("output0", "tensor(float)", shape)).labels == ("plant", "tray")


REFUSED = {
    "another task": (said(task="segment"), STATIC, RAW, "for the task 'segment'"),
    "a long task": (said(task="x" * 500), STATIC, RAW, "for the task 'xxx"),
    "integers, as YOLOX is fed": (
        SAID,
        TensorInfo("i", "tensor(uint8)", (1, 3, 64, 64)),
        RAW,
        "expected float32 or float16",
    ),
    "channels last": (SAID, TensorInfo("i", "tensor(float)", (1, 64, 64, 3)), RAW, "channels last"),
    "one box a grid cell, as YOLOX has": ({}, STATIC, TensorInfo("o", "tensor(float)", (1, 6300, 85)), "YOLOX"),
    "the boxes of DETR": ({}, STATIC, TensorInfo("o", "tensor(float)", (1, 300, 84)), "DETR"),
    "moved axes": (
        said(names="['a', 'b', 'c']"),
        STATIC,
        TensorInfo("o", "tensor(float)", (1, 6300, 7)),
        "without moving its axes",
    ),
    "moved axes, and no metadata": ({}, STATIC, TensorInfo("o", "tensor(float)", (1, 6300, 7)), "moved axes"),
    "an image of two dimensions": (SAID, TensorInfo("i", "tensor(float)", (64, 64)), RAW, "input"),
    "an image of no dimensions": (SAID, TensorInfo("i", "tensor(float)", ()), RAW, "input"),
    "integers": (SAID, TensorInfo("i", "tensor(uint8)", (1, 3, 64, 64)), RAW, "input"),
    "grey": (SAID, TensorInfo("i", "tensor(float)", (1, 1, 64, 64)), RAW, "1 channels"),
    "four channels": (SAID, TensorInfo("i", "tensor(float)", (1, 4, 64, 64)), RAW, "4 channels"),
    "an output of two dimensions": (SAID, STATIC, TensorInfo("o", "tensor(float)", (1, 6)), "one output"),
    "an output of texts": (SAID, STATIC, TensorInfo("o", "tensor(string)", (1, 6, 8400)), "output"),
    "an output of integers": (SAID, STATIC, TensorInfo("o", "tensor(int64)", (1, 6, 8400)), "output"),
    "more labels than scores": (said(names="['a', 'b', 'c']"), STATIC, RAW, "names 3 classes"),
    "fewer labels than scores": (said(names="['a']"), STATIC, RAW, "names 1 classes"),
    "end to end by its word, not by its shape": (
        said(end2end="True"),
        STATIC,
        RAW,
        "says that the model is end to end",
    ),
    "end to end by its arguments, not by its shape": (
        said(args="{'nms': True}"),
        STATIC,
        RAW,
        "says that the model is end to end",
    ),
    "boxes before classes": (SAID, STATIC, TensorInfo("o", "tensor(float)", (1, 8400, 7)), "classes"),
    "no classes": ({}, STATIC, TensorInfo("o", "tensor(float)", (1, 4, 8400)), "is not"),
    "no classes of v5": ({}, STATIC, TensorInfo("o", "tensor(float)", (1, 18900, 5)), "is not"),
    "as many boxes as rows": ({}, STATIC, TensorInfo("o", "tensor(float)", (1, 84, 84)), "transpose"),
    "one class of v5 or end to end": ({}, DYNAMIC, TensorInfo("o", "tensor(float)", (1, 300, 6)), "YOLOv5"),
    "nothing known of the classes": (
        {},
        STATIC,
        TensorInfo("o", "tensor(float)", (None, None, None)),
        "number of classes is unknown",
    ),
    "no names": (said(names="{}"), STATIC, RAW, "names"),
    "names from one": (said(names="{1: 'a', 2: 'b'}"), STATIC, RAW, "names"),
    "names with a hole": (said(names="{0: 'a', 2: 'b'}"), STATIC, RAW, "names"),
    "a name": (said(names="'plant'"), STATIC, RAW, "names"),
    "names of two lines": (said(names="['a\\nb', 'c']"), STATIC, RAW, "names"),
    "names that no file can hold": (said(names="['\\ud800', 'c']"), STATIC, RAW, "names"),
    "names that are code": (said(names="__import__('os').getcwd()"), STATIC, RAW, "names"),
    "names that are broken": (said(names="{0: 'plant'"), STATIC, RAW, "names"),
    "names that are deep": (said(names="[" * 5000), STATIC, RAW, "names"),
    "arguments that are broken": (said(args="{"), STATIC, RAW, "args"),
    "a size that is none": (said(imgsz="'big'"), DYNAMIC, RAW, "imgsz"),
    "a size of one side": (said(imgsz="[640]"), DYNAMIC, RAW, "imgsz"),
    "a size of three sides": (said(imgsz="[640, 640, 3]"), DYNAMIC, RAW, "imgsz"),
    "a size of nothing": (said(imgsz="[0, 640]"), DYNAMIC, RAW, "imgsz"),
    "a size below nothing": (said(imgsz="-640"), DYNAMIC, RAW, "imgsz"),
    "a size that no memory holds": (said(imgsz="[1000000, 1000000]"), DYNAMIC, RAW, "imgsz"),
    "a size of texts": (said(imgsz="['640', 'x']"), DYNAMIC, RAW, "imgsz"),
    "a stride that is none": (said(stride="'wide'"), DYNAMIC, RAW, "stride"),
    "strides": (said(stride="[8, 16, 32]"), DYNAMIC, RAW, "stride"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_served_is_refused_with_a_sentence(what):
    metadata, image, output, sentence = REFUSED[what]
    with pytest.raises(InvalidModel) as caught:
        read(metadata, image, output)
    assert sentence in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("inputs", "outputs"), [([], [RAW]), ([STATIC, STATIC], [RAW]), ([STATIC], []), ([STATIC], [RAW, RAW])]
)
def test_one_image_goes_in_and_one_answer_comes_out(inputs, outputs):
    with pytest.raises(InvalidModel):
        read_export("detect", SAID, inputs, outputs)


LITERALS = st.sampled_from(
    [
        *(
            "",
            "None",
            "True",
            "0",
            "-1",
            "640",
            "1e400",
            "nan",
            "'a'",
            "b'a'",
            "x",
            "{",
            "()",
            "[]",
            "{}",
            "[640]",
            "[None]",
        ),
        *(
            "[640, 640]",
            "[1.5, 64]",
            "[True, 64]",
            "['a', 'b']",
            "{0: 'a'}",
            "{0: 'a', 1: 'b'}",
            "{0.0: 'a'}",
            "{'nms': 1}",
        ),
        *(
            "{'nms': True}",
            "[[0], [1]]",
            "{0: [1]}",
            "[1, 2, 3, 4, 5]",
            "-640",
            "10**9",
            "1000000000000",
            "{0}",
            "{0: 'a', 0: 'b'}",
        ),
    ]
)
SIZES = st.none() | st.integers(1, 9)


@given(
    st.dictionaries(
        st.sampled_from(["names", "imgsz", "stride", "args", "end2end", "task"]), LITERALS, max_size=4
    ),
    st.lists(SIZES, min_size=3, max_size=5).map(tuple),
    st.lists(SIZES, min_size=2, max_size=4).map(tuple),
)
def test_whatever_the_file_says_it_is_served_or_refused(metadata, image, output):
    task = {"task": "detect"} if "task" in metadata else {}
    try:
        export = read(
            metadata | task, TensorInfo("i", "tensor(float)", image), TensorInfo("o", "tensor(float)", output)
        )
    except InvalidModel:
        return
    assert export.labels or export.layout.kind == "end_to_end"
    assert all(isinstance(label, str) for label in export.labels)
    assert min(export.canvas_hw) > 0
    assert export.stride >= 32


def output(*shape):
    return TensorInfo("output0", "tensor(float)", shape)


ONE = {"names": "['plant']"}
SEGMENT = SAID | {"task": "segment"}
PROTOTYPES = TensorInfo("output1", "tensor(float)", (1, 32, 120, 160))


@pytest.mark.parametrize(
    ("metadata", "shape", "kind", "classes"),
    [
        (SAID, (1, 6, 8400), "raw", 2),
        (SAID, (1, 6, 6), "raw", 2),
        (SAID, (1, 300, 6), "end_to_end", 2),
        (said(end2end="True"), (1, 300, 6), "end_to_end", 2),
        (said(args="{'nms': True}"), (1, 300, 6), "end_to_end", 2),
        (said(head="RTDETRDecoder"), (1, 300, 6), "rtdetr", 2),
        (said(head="RTDETRDecoder", names="['a', 'b', 'c']"), (1, 300, 7), "rtdetr_raw", 3),
        ({}, (1, 84, 8400), "raw", 80),
        ({}, (1, 18900, 85), "v5", 80),
        ({}, (1, 19110, 85), "v5", 80),  # P6
        ({}, (1, 76500, 85), "v5", 80),  # P2
        ({}, (1, 4500, 85), "v5", 80),  # YOLOv3-tiny
        ({}, (1, 300, 6), "end_to_end", 0),  # the anchors of 480 x 640 would be 18900
        ({}, (1, 18900, 6), "v5", 1),
        (ONE, (1, 18900, 6), "v5", 1),
        (ONE, (1, 300, 6), "end_to_end", 1),
        ({"names": "['a', 'b']"}, (1, 18900, 7), "v5", 2),
    ],
)
def test_the_layout_of_boxes(metadata, shape, kind, classes):
    export = read(metadata, output=output(*shape))
    assert (export.layout.kind, len(export.labels)) == (kind, classes)


def test_an_embedded_nms_is_remembered():
    assert read(said(args="{'nms': True}"), output=output(1, 300, 6)).layout.has_nms
    assert not read(said(end2end="True"), output=output(1, 300, 6)).layout.has_nms


@pytest.mark.parametrize(
    ("metadata", "shape", "kind"),
    [
        (SEGMENT, (1, 38, 8400), "raw"),
        (SEGMENT, (1, 300, 38), "end_to_end"),
        ({}, (1, 116, 8400), "raw"),
        ({}, (1, 18900, 117), "v5"),
    ],
)
@pytest.mark.parametrize("swapped", [False, True])
def test_the_layout_of_segments(metadata, shape, kind, swapped):
    outputs = [output(*shape), PROTOTYPES]
    export = read_export("segment", metadata, [STATIC], outputs[::-1] if swapped else outputs)
    assert (export.layout.kind, export.layout.mask_coefficients) == (kind, 32)
    assert (export.layout.output_index, export.layout.prototypes_index) == ((1, 0) if swapped else (0, 1))


def test_the_layout_of_scores():
    export = read_export("classify", SAID | {"task": "classify"}, [STATIC], [output(1, 2)])
    assert (export.layout.kind, export.labels) == ("scores", ("plant", "tray"))
    assert read_export("classify", {}, [STATIC], [output(1, 3)]).labels == ("class0", "class1", "class2")


@pytest.mark.parametrize(
    ("model_type", "metadata", "outputs", "sentence"),
    [
        ("detect", SEGMENT, [output(1, 38, 8400), PROTOTYPES], r"the task 'segment': store it as segment\.onnx"),
        (
            "detect",
            said(task="pose"),
            [output(1, 56, 8400)],
            "the task 'pose': supported tasks: detect, segment, classify",
        ),
        ("detect", said(task="obb"), [output(1, 7, 8400)], "the task 'obb'"),
        ("detect", {}, [output(1, 3)], r"one output .* store it as classify\.onnx"),
        ("detect", {}, [output(1, 116, 8400), PROTOTYPES], r"one output .* store it as segment\.onnx"),
        ("detect", {}, [output(100, 4), output(100), output(100)], "Ultralytics"),  # torchvision's
        ("segment", SAID, [output(1, 6, 8400)], "the task 'detect'"),
        ("segment", {}, [output(1, 6, 8400)], r"prototypes .* store it as detect\.onnx"),
        ("segment", SEGMENT, [output(1, 6, 8400), PROTOTYPES], "names 2 classes"),
        ("classify", {}, [output(1, 6, 8400)], "one output"),
        ("classify", said(task="classify"), [output(1, 3)], "names 2 classes"),
        ("classify", {}, [output(None, None)], "number of classes is unknown"),
    ],
)
def test_a_file_in_the_wrong_place_is_refused(model_type, metadata, outputs, sentence):
    with pytest.raises(InvalidModel, match=sentence):
        read_export(model_type, metadata, [STATIC], outputs)


def test_ids_beyond_the_names_have_numbers():
    export = read({}, output=output(1, 300, 6))
    assert export.labels_for(np.array([2, 0])) == ("class0", "class1", "class2")
    assert export.labels_for(np.empty(0, np.int64)) == ()
    assert read().labels_for(np.array([1])) == ("plant", "tray")
