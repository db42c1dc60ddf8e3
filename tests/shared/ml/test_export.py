"""read_export: tables from metadata and shapes to an Export, or to the message of a rejection."""

from collections.abc import Mapping
from contextlib import nullcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InvalidModel
from shared.ml.export import MAX_CANVAS_BYTES, Export, read_export
from shared.ml.export_metadata import MAX_LABELS
from shared.ml.output_layout import Layout, ModelType, TensorInfo

STATIC = TensorInfo("images", "tensor(float)", (1, 3, 480, 640))
DYNAMIC = TensorInfo("images", "tensor(float)", (None, 3, None, None))
RAW = TensorInfo("output0", "tensor(float)", (1, 6, 8400))
METADATA = {
    "task": "detect",
    "names": "{0: 'plant', 1: 'tray'}",
    "imgsz": "[480, 640]",
    "stride": "32",
    "args": "{'nms': False}",
}


def read(
    metadata: Mapping[str, str] = METADATA,
    image: TensorInfo = STATIC,
    output: TensorInfo = RAW,
    *,
    model_type: ModelType = "detect",
) -> Export:
    return read_export(model_type, metadata, [image], [output])


def changed(**changes: str | None) -> dict[str, str]:
    """Return the metadata with other values, and without those that are None."""
    return {name: value for name, value in (METADATA | changes).items() if value is not None}


def tensor(*shape: int | None, dtype: str = "float") -> TensorInfo:
    return TensorInfo("tensor", f"tensor({dtype})", shape)


def test_static_export_is_read_completely() -> None:
    assert read() == Export(
        layout=Layout(kind="raw", labels=("plant", "tray")),
        input_name="images",
        dtype="float32",
        canvas_hw=(480, 640),
        dynamic=False,
        batch=1,
        stride=32,
    )


def test_export_without_metadata_is_read_from_its_shapes() -> None:
    export = read({})
    assert (export.labels, export.canvas_hw, export.stride) == (("class0", "class1"), (480, 640), 32)


@pytest.mark.parametrize(
    ("shape", "imgsz", "canvas_hw", "dynamic", "batch"),
    [
        pytest.param((1, 3, 480, 640), "[640, 640]", (480, 640), False, 1, id="static size overrides imgsz"),
        pytest.param((4, 3, 480, 640), None, (480, 640), False, 4, id="batch of 4"),
        pytest.param((None, 3, 480, 640), None, (480, 640), False, None, id="dynamic batch"),
        pytest.param((None, 3, None, None), "[480, 640]", (480, 640), True, None, id="imgsz list"),
        pytest.param((None, 3, None, None), "320", (320, 320), True, None, id="imgsz number"),
        pytest.param((None, 3, None, None), "(320, 352)", (320, 352), True, None, id="imgsz tuple"),
        pytest.param((None, 3, None, None), None, (640, 640), True, None, id="no imgsz"),
        pytest.param((1, None, None, None), None, (640, 640), True, 1, id="dynamic channels"),
    ],
)
def test_canvas_and_batch_come_from_the_input_or_imgsz(
    shape: tuple[int | None, ...],
    imgsz: str | None,
    canvas_hw: tuple[int, int],
    *,
    dynamic: bool,
    batch: int | None,
) -> None:
    export = read(changed(imgsz=imgsz), tensor(*shape))
    assert (export.canvas_hw, export.dynamic, export.batch) == (canvas_hw, dynamic, batch)


def test_float16_input_is_float16() -> None:
    assert read(image=tensor(1, 3, 64, 64, dtype="float16")).dtype == "float16"


@pytest.mark.parametrize(("text", "stride"), [(None, 32), ("", 32), ("32", 32), ("64", 64), ("8", 32)])
def test_stride_is_at_least_32(text: str | None, stride: int) -> None:
    assert read(changed(stride=text)).stride == stride


HOSTILE_METADATA = {
    "label of an integer of 6,000 digits": ({"names": f"{{0: 0x{'f' * 5000}, 1: 'a'}}"}, "at most 256 characters"),
    "label of a list with such an integer": ({"names": f"[[0x{'f' * 5000}], 'a']"}, "at most 256 characters"),
    "label of 257 characters": ({"names": str(["x" * 257, "a"])}, "at most 256 characters; got 'xxx"),
    "label of 500,000 characters": ({"names": str(["x" * 500_000, "a"])}, "at most 256 characters; got 'xxx"),
    "unprintable label": ({"names": r"['a\nb', 'a']"}, r"labels must be printable, .* got 'a\\nb'"),
    "image size of 6,000 digits": ({"imgsz": f"0x{'f' * 5000}"}, "imgsz is invalid"),
    "image sizes of 6,000 digits": ({"imgsz": f"[0x{'f' * 5000}, 64]"}, "imgsz is invalid"),
    "stride of 6,000 digits": ({"stride": f"0x{'f' * 5000}"}, "stride is invalid"),
}


@pytest.mark.parametrize("case", HOSTILE_METADATA)
def test_metadata_of_great_length_are_an_invalid_model(case: str) -> None:
    metadata, message = HOSTILE_METADATA[case]

    with pytest.raises(InvalidModel, match=message):
        read(changed(**metadata), tensor(1, 3, None, None))


def test_label_of_256_characters_is_accepted() -> None:
    assert read(changed(names=str(["x" * 256, ""]))).labels == ("x" * 256, "")


@pytest.mark.parametrize("named", [True, False], ids=["named", "numbered"])
def test_model_with_more_than_30000_classes_is_rejected(*, named: bool) -> None:
    def layout(classes: int) -> int:
        metadata = changed(names=str(list(range(classes))) if named else None)
        return len(read(metadata, output=tensor(1, 4 + classes, 8400)).labels)

    assert layout(MAX_LABELS) == MAX_LABELS
    with pytest.raises(InvalidModel, match=f"has {MAX_LABELS + 1} classes; the limit is {MAX_LABELS}"):
        layout(MAX_LABELS + 1)


def test_declared_number_of_classes_is_rejected_before_they_are_named() -> None:
    with pytest.raises(InvalidModel, match="classes; the limit is"):
        read(changed(names=None), output=tensor(1, 2**40, 2**50))


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
def test_labels_are_in_the_order_of_their_class_ids(names: str, labels: tuple[str, ...]) -> None:
    assert read(changed(names=names)).labels == labels


@pytest.mark.parametrize(
    "shape", [(None, None, None), (None, 6, None), (1, None, 8400), (None, 6, 8400), (1, 6, 9)]
)
def test_output_may_have_a_dynamic_class_dimension_if_names_are_known(shape: tuple[int | None, ...]) -> None:
    assert read(output=tensor(*shape)).labels == ("plant", "tray")


REJECTED: dict[str, tuple[dict[str, str], TensorInfo, TensorInfo, str]] = {
    "another task": (changed(task="segment"), STATIC, RAW, "for the task 'segment'"),
    "a task of 500 characters": (changed(task="x" * 500), STATIC, RAW, "for the task 'xxx"),
    "uint8 input, as of YOLOX": (
        METADATA,
        tensor(1, 3, 64, 64, dtype="uint8"),
        RAW,
        "expected float32 or float16",
    ),
    "channels last": (METADATA, tensor(1, 64, 64, 3), RAW, "channels last"),
    "YOLOX: one box per grid cell": ({}, STATIC, tensor(1, 6300, 85), "YOLOX"),
    "DETR": ({}, STATIC, tensor(1, 300, 84), "DETR"),
    "moved axes": (
        changed(names="['a', 'b', 'c']"),
        STATIC,
        tensor(1, 6300, 7),
        "without moving its axes",
    ),
    "moved axes without metadata": ({}, STATIC, tensor(1, 6300, 7), "moved axes"),
    "input of two dimensions": (METADATA, tensor(64, 64), RAW, "input"),
    "input without dimensions": (METADATA, tensor(), RAW, "input"),
    "uint8 input": (METADATA, tensor(1, 3, 64, 64, dtype="uint8"), RAW, "input"),
    "one channel": (METADATA, tensor(1, 1, 64, 64), RAW, "1 channels"),
    "four channels": (METADATA, tensor(1, 4, 64, 64), RAW, "4 channels"),
    "output of two dimensions": (METADATA, STATIC, tensor(1, 6), "one output"),
    "output of strings": (METADATA, STATIC, tensor(1, 6, 8400, dtype="string"), "output"),
    "int64 output": (METADATA, STATIC, tensor(1, 6, 8400, dtype="int64"), "output"),
    "more labels than scores": (changed(names="['a', 'b', 'c']"), STATIC, RAW, "names 3 classes"),
    "fewer labels than scores": (changed(names="['a']"), STATIC, RAW, "names 1 classes"),
    "end2end in the metadata only": (
        changed(end2end="True"),
        STATIC,
        RAW,
        "says that the model is end to end",
    ),
    "nms in the metadata only": (
        changed(args="{'nms': True}"),
        STATIC,
        RAW,
        "says that the model is end to end",
    ),
    "axes of boxes and classes swapped": (METADATA, STATIC, tensor(1, 8400, 7), "classes"),
    "no classes": ({}, STATIC, tensor(1, 4, 8400), "is not"),
    "no classes, v5": ({}, STATIC, tensor(1, 18900, 5), "is not"),
    "as many boxes as rows": ({}, STATIC, tensor(1, 84, 84), "transpose"),
    "v5 with one class, or end to end": ({}, DYNAMIC, tensor(1, 300, 6), "YOLOv5"),
    "unknown number of classes": (
        {},
        STATIC,
        tensor(None, None, None),
        "number of classes is unknown",
    ),
    "empty names": (changed(names="{}"), STATIC, RAW, "names"),
    "names from one": (changed(names="{1: 'a', 2: 'b'}"), STATIC, RAW, "names"),
    "names with a gap": (changed(names="{0: 'a', 2: 'b'}"), STATIC, RAW, "names"),
    "names is a string": (changed(names="'plant'"), STATIC, RAW, "names"),
    "name with a line break": (changed(names="['a\\nb', 'c']"), STATIC, RAW, "names"),
    "name with a surrogate": (changed(names="['\\ud800', 'c']"), STATIC, RAW, "names"),
    "names with a function call": (changed(names="__import__('os').getcwd()"), STATIC, RAW, "names"),
    "names is no literal": (changed(names="{0: 'plant'"), STATIC, RAW, "names"),
    "names nested 5000 deep": (changed(names="[" * 5000), STATIC, RAW, "names"),
    "args is no literal": (changed(args="{"), STATIC, RAW, "args"),
    "imgsz is a word": (changed(imgsz="'big'"), DYNAMIC, RAW, "imgsz"),
    "imgsz of one side": (changed(imgsz="[640]"), DYNAMIC, RAW, "imgsz"),
    "imgsz of three sides": (changed(imgsz="[640, 640, 3]"), DYNAMIC, RAW, "imgsz"),
    "imgsz with 0": (changed(imgsz="[0, 640]"), DYNAMIC, RAW, "imgsz"),
    "negative imgsz": (changed(imgsz="-640"), DYNAMIC, RAW, "imgsz"),
    "huge imgsz": (changed(imgsz="[1000000, 1000000]"), DYNAMIC, RAW, "imgsz"),
    "imgsz of strings": (changed(imgsz="['640', 'x']"), DYNAMIC, RAW, "imgsz"),
    "stride is a word": (changed(stride="'wide'"), DYNAMIC, RAW, "stride"),
    "several strides": (changed(stride="[8, 16, 32]"), DYNAMIC, RAW, "stride"),
}


@pytest.mark.parametrize(("metadata", "image", "output", "message"), REJECTED.values(), ids=REJECTED)
def test_unusable_export_is_rejected_with_a_short_reason(
    metadata: dict[str, str], image: TensorInfo, output: TensorInfo, message: str
) -> None:
    with pytest.raises(InvalidModel) as caught:
        read(metadata, image, output)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        pytest.param([], [RAW], id="no input"),
        pytest.param([STATIC, STATIC], [RAW], id="two inputs"),
        pytest.param([STATIC], [], id="no output"),
        pytest.param([STATIC], [RAW, RAW], id="two outputs"),
    ],
)
def test_detect_model_must_have_one_input_and_one_output(
    inputs: list[TensorInfo], outputs: list[TensorInfo]
) -> None:
    with pytest.raises(InvalidModel):
        read_export("detect", METADATA, inputs, outputs)


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
def test_any_metadata_and_shapes_are_accepted_or_rejected_as_invalid(
    metadata: dict[str, str], image: tuple[int | None, ...], output: tuple[int | None, ...]
) -> None:
    task = {"task": "detect"} if "task" in metadata else {}
    try:
        export = read(metadata | task, tensor(*image), tensor(*output))
    except InvalidModel:
        return
    assert export.labels or export.layout.kind == "end_to_end"
    assert all(isinstance(label, str) for label in export.labels)
    assert min(export.canvas_hw) > 0
    assert export.stride >= 32


ONE = {"names": "['plant']"}
SEGMENT = METADATA | {"task": "segment"}
PROTOTYPES = TensorInfo("output1", "tensor(float)", (1, 32, 120, 160))


@pytest.mark.parametrize(
    ("metadata", "shape", "kind", "classes"),
    [
        pytest.param(METADATA, (1, 6, 8400), "raw", 2, id="raw"),
        pytest.param(METADATA, (1, 6, 6), "raw", 2, id="raw with 6 boxes"),
        pytest.param(METADATA, (1, 300, 6), "end_to_end", 2, id="six columns"),
        pytest.param(changed(end2end="True"), (1, 300, 6), "end_to_end", 2, id="end2end"),
        pytest.param(changed(args="{'nms': True}"), (1, 300, 6), "end_to_end", 2, id="nms in args"),
        pytest.param(changed(head="RTDETRDecoder"), (1, 300, 6), "rtdetr", 2, id="RT-DETR"),
        pytest.param(
            changed(head="RTDETRDecoder", names="['a', 'b', 'c']"),
            (1, 300, 7),
            "rtdetr_raw",
            3,
            id="RT-DETR with scores",
        ),
        pytest.param({}, (1, 84, 8400), "raw", 80, id="raw by shape"),
        pytest.param({}, (1, 18900, 85), "v5", 80, id="v5 by shape"),
        pytest.param({}, (1, 19110, 85), "v5", 80, id="YOLOv5 P6"),
        pytest.param({}, (1, 76500, 85), "v5", 80, id="YOLOv5 P2"),
        pytest.param({}, (1, 4500, 85), "v5", 80, id="YOLOv3-tiny"),
        pytest.param({"task": "detect"}, (1, 300, 6), "end_to_end", 0, id="six columns with a task"),
        pytest.param({"names": "['a', 'b']"}, (1, 300, 6), "end_to_end", 2, id="six columns with two names"),
        pytest.param({}, (1, 18900, 6), "v5", 1, id="v5 with one class by shape"),
        pytest.param(ONE, (1, 18900, 6), "v5", 1, id="v5 with one class"),
        pytest.param(changed(**ONE), (1, 300, 6), "end_to_end", 1, id="end to end with one class"),
        pytest.param({"names": "['a', 'b']"}, (1, 18900, 7), "v5", 2, id="v5 with two classes"),
    ],
)
def test_detect_layout_follows_from_metadata_and_shape(
    metadata: dict[str, str], shape: tuple[int, ...], kind: str, classes: int
) -> None:
    export = read(metadata, output=tensor(*shape))
    assert (export.layout.kind, len(export.labels)) == (kind, classes)


@pytest.mark.parametrize("metadata", [{}, ONE], ids=["no metadata", "one name and no task"])
@pytest.mark.parametrize(
    ("boxes", "image"),
    [
        pytest.param(300, STATIC, id="end to end or DETR"),
        pytest.param(100, STATIC, id="effdet"),
        pytest.param(3549, tensor(1, 3, 416, 416), id="YOLOX"),
        pytest.param(2100, tensor(1, 3, 320, 320), id="YOLOv6"),
        pytest.param(None, STATIC, id="dynamic number of boxes"),
        pytest.param(300, tensor(None, 3, None, None), id="dynamic size"),
    ],
)
def test_six_numbers_per_box_without_metadata_are_rejected(
    metadata: dict[str, str], boxes: int | None, image: TensorInfo
) -> None:
    message = r"The output \(1, .+, 6\) has 6 numbers per box, and no metadata says what they mean: .* YOLOX"

    with pytest.raises(InvalidModel, match=message):
        read(metadata, image, tensor(1, boxes, 6))


def test_segments_without_metadata_are_end_to_end_unless_their_number_is_that_of_v5() -> None:
    def kind(boxes: int) -> str:
        return read_export("segment", {}, [STATIC], [tensor(1, boxes, 38), PROTOTYPES]).layout.kind

    assert (kind(300), kind(18900)) == ("end_to_end", "v5")


@pytest.mark.parametrize(
    ("image", "imgsz", "is_accepted"),
    [
        pytest.param(tensor(1, 3, 4096, 5461), None, True, id="268,431,360 bytes"),
        pytest.param(tensor(1, 3, 4096, 5462), None, False, id="268,480,512 bytes"),
        pytest.param(tensor(None, 3, None, None), "4704", True, id="dynamic, 4704 px"),
        pytest.param(tensor(None, 3, None, None), "4736", False, id="dynamic, 4736 px"),
        pytest.param(tensor(None, 3, None, None, dtype="float16"), "7680", False, id="float16, 7680 px"),
        pytest.param(tensor(54, 3, 640, 640), None, True, id="batch of 54"),
        pytest.param(tensor(55, 3, 640, 640), None, False, id="batch of 55"),
    ],
)
def test_canvases_of_a_batch_have_at_most_256_mib(
    image: TensorInfo, imgsz: str | None, *, is_accepted: bool
) -> None:
    with nullcontext() if is_accepted else pytest.raises(InvalidModel, match=f"the limit is {MAX_CANVAS_BYTES}"):
        read(changed(imgsz=imgsz), image)


def test_embedded_nms_is_read_from_args() -> None:
    assert read(changed(args="{'nms': True}"), output=tensor(1, 300, 6)).layout.has_nms
    assert not read(changed(end2end="True"), output=tensor(1, 300, 6)).layout.has_nms


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
def test_segment_layout_follows_from_metadata_and_shapes_in_any_order(
    metadata: dict[str, str], shape: tuple[int, ...], kind: str, *, swapped: bool
) -> None:
    outputs = [tensor(*shape), PROTOTYPES]
    export = read_export("segment", metadata, [STATIC], outputs[::-1] if swapped else outputs)
    assert (export.layout.kind, export.layout.mask_coefficients) == (kind, 32)
    assert (export.layout.output_index, export.layout.prototypes_index) == ((1, 0) if swapped else (0, 1))


def test_classify_layout_is_scores() -> None:
    export = read_export("classify", METADATA | {"task": "classify"}, [STATIC], [tensor(1, 2)])
    assert (export.layout.kind, export.labels) == ("scores", ("plant", "tray"))
    assert read_export("classify", {}, [STATIC], [tensor(1, 3)]).labels == ("class0", "class1", "class2")


@pytest.mark.parametrize(
    ("model_type", "metadata", "outputs", "message"),
    [
        pytest.param(
            "detect",
            SEGMENT,
            [tensor(1, 38, 8400), PROTOTYPES],
            r"the task 'segment': store it as segment\.onnx",
            id="segment as detect",
        ),
        pytest.param(
            "detect",
            changed(task="pose"),
            [tensor(1, 56, 8400)],
            "the task 'pose': supported tasks: detect, segment, classify",
            id="pose",
        ),
        pytest.param("detect", changed(task="obb"), [tensor(1, 7, 8400)], "the task 'obb'", id="obb"),
        pytest.param(
            "detect",
            {},
            [tensor(1, 3)],
            r"one output .* store it as classify\.onnx",
            id="classify outputs as detect",
        ),
        pytest.param(
            "detect",
            {},
            [tensor(1, 116, 8400), PROTOTYPES],
            r"one output .* store it as segment\.onnx",
            id="segment outputs as detect",
        ),
        pytest.param(
            "detect", {}, [tensor(100, 4), tensor(100), tensor(100)], "Ultralytics", id="torchvision outputs"
        ),
        pytest.param("segment", METADATA, [tensor(1, 6, 8400)], "the task 'detect'", id="detect as segment"),
        pytest.param(
            "segment",
            {},
            [tensor(1, 6, 8400)],
            r"prototypes .* store it as detect\.onnx",
            id="detect outputs as segment",
        ),
        pytest.param(
            "segment", SEGMENT, [tensor(1, 6, 8400), PROTOTYPES], "names 2 classes", id="other number of classes"
        ),
        pytest.param("classify", {}, [tensor(1, 6, 8400)], "one output", id="detect outputs as classify"),
        pytest.param(
            "classify",
            changed(task="classify"),
            [tensor(1, 3)],
            "names 2 classes",
            id="classify with other number of classes",
        ),
        pytest.param(
            "classify",
            {},
            [tensor(None, None)],
            "number of classes is unknown",
            id="classify with unknown number of classes",
        ),
    ],
)
def test_model_stored_under_another_type_is_rejected_with_advice(
    model_type: ModelType, metadata: dict[str, str], outputs: list[TensorInfo], message: str
) -> None:
    with pytest.raises(InvalidModel, match=message):
        read_export(model_type, metadata, [STATIC], outputs)


def test_class_ids_without_a_name_have_numbered_labels() -> None:
    export = read({"task": "detect"}, output=tensor(1, 300, 6))
    assert export.labels_for(np.array([2, 0])) == ("class0", "class1", "class2")
    assert export.labels_for(np.empty(0, np.int64)) == ()
    assert read().labels_for(np.array([1])) == ("plant", "tray")
