"""What an ONNX export says of itself: read once from its metadata and shapes, never guessed again. Pure."""

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

_INPUT: Final = "images (batch, 3, height, width)"
_DEFAULT_CANVAS_HW: Final = (640, 640)
MAX_CLASSES: Final = 10_000  # of a model whose answer has a class's number, not a score for each
_NUMBERED: Final = re.compile(r"class([0-9]{1,4})")
_MAX_SIDE: Final = 7680  # of a canvas in px: `shared.vision.boxes.nms` keeps classes that far apart


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """How to feed a model and how to read its answer.

    `canvas_hw`: the input's (height, width) in px; of a `dynamic` one the largest to use, a smaller one may be
    any multiple of `stride`. `batch` None: any.
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
        """How many there may be: one that the file does not name has a number for a label."""
        return MAX_CLASSES if self.layout.kind in {"end_to_end", "rtdetr"} else len(self.labels)

    def ids_of(self, label: str) -> list[int]:
        """The classes of that label: two may have the same, and there may be none."""
        ids = [index for index, each in enumerate(self.labels) if each == label]
        number = _NUMBERED.fullmatch(label)
        if not ids and number and len(self.labels) <= int(number[1]) < self.classes:
            return [int(number[1])]
        return ids

    def labels_for(self, class_ids: npt.NDArray[Any]) -> tuple[str, ...]:
        """Labels of at least these ids: class7 where the file names no seventh."""
        count = max(len(self.labels), int(class_ids.max(initial=-1)) + 1)
        return self.labels + tuple(f"class{index}" for index in range(len(self.labels), count))

    def check(self, outputs: Sequence[npt.NDArray[Any]], *, batch: int) -> None:
        """Whether a run answered in the layout: dimensions that a file leaves open it may fill with anything.

        Raises:
            InvalidModel: it did not.
        """
        layout, classes = self.layout, len(self.labels)
        shape = outputs[layout.first].shape
        wanted: dict[str, tuple[tuple[int, int], ...]] = {
            "scores": ((1, classes),),
            "raw": ((1, 4 + classes + layout.masks),),
            "v5": ((2, 5 + classes + layout.masks),),
            "end_to_end": ((2, 6 + layout.masks),),
            "rtdetr": ((2, 6),),
            "rtdetr_raw": ((2, 4 + classes),),
        }
        sizes = {1: "?", 2: "?"} | dict(wanted[layout.kind])
        rank = 2 if layout.kind == "scores" else 3
        if len(shape) != rank or shape[0] != batch or any(shape[at] != size for at, size in wanted[layout.kind]):
            expected = ", ".join(["batch", *(str(sizes[at]) for at in range(1, rank))])
            raise InvalidModel(f"The model answered with {shape}, not ({expected})")
        if layout.prototypes is not None:
            shape = outputs[layout.prototypes].shape
            if shape[:2] != (batch, layout.masks) or min(shape) < 1:
                raise InvalidModel(f"The model answered with prototypes {shape}")


def read_export(
    model_type: ModelType, strings: Mapping[str, str], inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo]
) -> Export:
    """Decide from the file alone how it is served; `strings` are its metadata.

    Raises:
        InvalidModel: it cannot be; the sentence says what was found and what to export instead.
    """
    metadata = Metadata(strings)
    check_input(model_type, strings, inputs)
    batch, _, height, width = inputs[0].shape
    dynamic = height is None or width is None
    stride = metadata.stride
    canvas_hw = height or 0, width or 0
    if dynamic:
        canvas_hw = metadata.image_hw or _DEFAULT_CANVAS_HW
        if model_type != "classify":
            canvas_hw = -(-canvas_hw[0] // stride) * stride, -(-canvas_hw[1] // stride) * stride
    if max(canvas_hw) > _MAX_SIDE:
        raise InvalidModel(f"The model's imgsz is {canvas_hw}; up to {_MAX_SIDE} px a side are served")
    if (batch or 1) * canvas_hw[0] * canvas_hw[1] > _MAX_SIDE**2:
        raise InvalidModel(
            f"The model takes batches of {batch} images of {canvas_hw}; up to {_MAX_SIDE**2} px are served"
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


def check_input(model_type: ModelType, strings: Mapping[str, str], inputs: Sequence[TensorInfo]) -> None:
    """What is known before a session: whether the file is of that type and takes images.

    Raises:
        InvalidModel: it does not; as `read_export`.
    """
    task = Metadata(strings).task
    if task not in {model_type, None}:
        advice = (
            f"its place is {task}.onnx"
            if task in get_args(ModelType)
            else "detect, segment and classify are served"
        )
        raise InvalidModel(f"The file stored as {model_type}.onnx says its task is '{str(task)[:40]}': {advice}")
    if len(inputs) != 1:
        raise InvalidModel(f"The model takes {len(inputs)} inputs; it must take one, {_INPUT}")
    image = inputs[0]
    if image.dtype not in FLOATS:
        raise InvalidModel(f"The model's input is of {image.dtype[:40]}; it must be of floats, {_INPUT}")
    if len(image.shape) != 4:
        raise InvalidModel(f"The model's input has {len(image.shape)} dimensions; it must be {_INPUT}")
    if image.shape[1] not in {3, None} and image.shape[3] == 3:
        raise InvalidModel(f"The model's input has its channels last: export it with {_INPUT}")
    if image.shape[1] not in {3, None}:
        raise InvalidModel(
            f"The model takes {image.shape[1]} channels; only RGB (3) is served: train it with those"
        )
