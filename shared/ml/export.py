"""Reads how to feed an exported model and how to read its outputs, from its metadata and shapes alone."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, get_args

import numpy.typing as npt

from shared.errors import InvalidModel
from shared.ml.export_metadata import Metadata
from shared.ml.output_layout import FLOATS, Layout, ModelType, TensorInfo, read_layout
from shared.vision.arrays import SizeHW

_EXPECTED_INPUT: Final = "images (batch, 3, height, width)"
_DEFAULT_CANVAS_HW: Final = (640, 640)
MAX_CLASSES: Final = 10_000  # of a model that outputs class ids rather than a score per class
_NUMBERED_LABEL: Final = re.compile(r"class([0-9]{1,4})")
MAX_CANVAS_BYTES: Final = 2**28  # of a batch of canvases in float32: a square of 4,729 px, or 54 of 640 px
_BYTES_PER_CANVAS_PX: Final = 3 * 4  # three channels of float32
_MAX_SIDE_PX: Final = 7680  # `shared.vision.boxes.nms` moves the classes that far apart


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """The input and the output layout of a model.

    `canvas_hw` is the input's (height, width) in px. Of a `dynamic` input it is the largest to use, and a smaller
    one may be any multiple of `stride`. `batch` is None if any batch size is accepted.
    """

    layout: Layout
    input_name: str
    dtype: str
    canvas_hw: SizeHW
    dynamic: bool
    batch: int | None
    stride: int

    @property
    def labels(self) -> tuple[str, ...]:
        return self.layout.labels

    @property
    def classes(self) -> int:
        """The number of possible classes; one without a name in the file has a numbered label."""
        return MAX_CLASSES if self.layout.kind in {"end_to_end", "rtdetr"} else len(self.labels)

    def ids_of(self, label: str) -> list[int]:
        """Return the class ids with that label: none, one or several."""
        ids = [class_id for class_id, each in enumerate(self.labels) if each == label]
        number = _NUMBERED_LABEL.fullmatch(label)
        if not ids and number and len(self.labels) <= int(number[1]) < self.classes:
            return [int(number[1])]
        return ids

    def labels_for(self, class_ids: npt.NDArray[Any]) -> tuple[str, ...]:
        """Return labels up to the largest of these ids: "class7" if the file has no name for 7."""
        count = max(len(self.labels), int(class_ids.max(initial=-1)) + 1)
        return self.labels + tuple(f"class{index}" for index in range(len(self.labels), count))

    def check(self, outputs: Sequence[npt.NDArray[Any]], *, batch: int) -> None:
        """Check the shapes of a run's outputs: a model may give its dynamic dimensions any size.

        Raises:
            InvalidModel: They do not have the shapes of the layout.
        """
        layout, classes = self.layout, len(self.labels)
        shape = outputs[layout.output_index].shape
        columns = {
            "scores": classes,
            "raw": 4 + classes + layout.mask_coefficients,
            "v5": 5 + classes + layout.mask_coefficients,
            "end_to_end": 6 + layout.mask_coefficients,
            "rtdetr": 6,
            "rtdetr_raw": 4 + classes,
        }[layout.kind]
        expected: tuple[int | str, ...] = (batch, "boxes", columns)
        if layout.kind == "scores":
            expected = batch, columns
        elif layout.kind == "raw":
            expected = batch, columns, "boxes"
        if len(shape) != len(expected) or any(
            size not in {actual, "boxes"} for size, actual in zip(expected, shape, strict=True)
        ):
            described = ", ".join(map(str, expected))
            raise InvalidModel(f"The model returned an output of shape {shape}; expected ({described})")
        if layout.prototypes_index is not None:
            shape = outputs[layout.prototypes_index].shape
            if shape[:2] != (batch, layout.mask_coefficients) or min(shape) < 1:
                raise InvalidModel(
                    f"The model returned prototypes of shape {shape}; "
                    f"expected ({batch}, {layout.mask_coefficients}, height, width)"
                )


def read_export(
    model_type: ModelType,
    metadata_strings: Mapping[str, str],
    inputs: Sequence[TensorInfo],
    outputs: Sequence[TensorInfo],
) -> Export:
    """Read a model's export from its metadata, inputs and outputs.

    Raises:
        InvalidModel: The model cannot be used; the message says what it has and what is expected.
    """
    metadata = Metadata(metadata_strings)
    check_input(model_type, metadata_strings, inputs)
    batch, _, height, width = inputs[0].shape
    dynamic = height is None or width is None
    stride = metadata.stride
    canvas_hw = height or 0, width or 0
    if dynamic:
        canvas_hw = metadata.image_hw or _DEFAULT_CANVAS_HW
        if model_type != "classify":
            canvas_hw = -(-canvas_hw[0] // stride) * stride, -(-canvas_hw[1] // stride) * stride
    if max(canvas_hw) > _MAX_SIDE_PX:
        raise InvalidModel(
            f"The model's image size (imgsz) is {canvas_hw} px; the limit is {_MAX_SIDE_PX} px a side"
        )
    canvas_bytes = (batch or 1) * canvas_hw[0] * canvas_hw[1] * _BYTES_PER_CANVAS_PX
    if canvas_bytes > MAX_CANVAS_BYTES:
        raise InvalidModel(
            f"The model takes batches of {batch or 1} images of {canvas_hw} px, which are {canvas_bytes} bytes in "
            f"float32; the limit is {MAX_CANVAS_BYTES}: export it with a smaller image size (imgsz) or batch"
        )
    return Export(
        layout=read_layout(model_type, metadata, outputs, None if dynamic else canvas_hw),
        input_name=inputs[0].name,
        dtype=FLOATS[inputs[0].dtype],
        canvas_hw=canvas_hw,
        dynamic=dynamic,
        batch=batch,
        stride=stride,
    )


def check_input(model_type: ModelType, metadata_strings: Mapping[str, str], inputs: Sequence[TensorInfo]) -> None:
    """Check the task and the input of a model, which the file tells before it is a session.

    Raises:
        InvalidModel: The model is of another type, or does not take RGB images.
    """
    task = Metadata(metadata_strings).task
    if task not in {model_type, None}:
        advice = (
            f"store it as {task}.onnx"
            if task in get_args(ModelType)
            else "supported tasks: " + ", ".join(get_args(ModelType))
        )
        raise InvalidModel(
            f"The file stored as {model_type}.onnx is a model for the task {str(task)[:40]!r}: {advice}"
        )
    if len(inputs) != 1:
        raise InvalidModel(f"The model has {len(inputs)} inputs; expected one, {_EXPECTED_INPUT}")
    image = inputs[0]
    if image.dtype not in FLOATS:
        raise InvalidModel(
            f"The model's input has the type {image.dtype[:40]}; expected float32 or float16, {_EXPECTED_INPUT}"
        )
    if len(image.shape) != 4:
        raise InvalidModel(f"The model's input has {len(image.shape)} dimensions; expected {_EXPECTED_INPUT}")
    if image.shape[1] not in {3, None} and image.shape[3] == 3:
        raise InvalidModel(f"The model's input has its channels last: export it with {_EXPECTED_INPUT}")
    if image.shape[1] not in {3, None}:
        raise InvalidModel(
            f"The model's input has {image.shape[1]} channels; expected 3 (RGB): train it with RGB images"
        )
