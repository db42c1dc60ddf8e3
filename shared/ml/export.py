"""What an ONNX export says of itself: read once from its metadata and shapes, never guessed again. Pure."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy.typing as npt

from shared.errors import InvalidModel

ModelType = Literal["detect", "segment", "classify"]
Layout = Literal["raw"]

_DEFAULT_CANVAS_HW: Final = (640, 640)
_DTYPES: Final = {"tensor(float)": "float32", "tensor(float16)": "float16"}
_BOX_ROWS: Final = 4
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_MAX_SIDE: Final = 7680  # of a canvas in px: `shared.vision.nms` keeps classes that far apart


@dataclass(frozen=True, slots=True)
class Tensor:
    """A graph's input or output: dimensions that the file leaves open are None."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """How to feed a model and how to read its answer.

    `canvas_hw`: the input's (height, width) in px; of a `dynamic` one the largest to use, a smaller one may be
    any multiple of `stride`. `batch` None: any.
    """

    labels: tuple[str, ...]
    layout: Layout
    input_name: str
    dtype: str
    canvas_hw: tuple[int, int]
    dynamic: bool
    batch: int | None
    stride: int

    def check(self, outputs: Sequence[npt.NDArray[Any]], *, batch: int) -> None:
        """Whether a run answered in the layout: dimensions that a file leaves open it may fill with anything.

        Raises:
            InvalidModel: it did not.
        """
        shape = outputs[0].shape
        if len(shape) != 3 or shape[:2] != (batch, _BOX_ROWS + len(self.labels)):
            raise InvalidModel(f"The model answered with {shape}, not (batch, 4 + classes, boxes)")


def read_export(
    model_type: ModelType, metadata: Mapping[str, str], inputs: Sequence[Tensor], outputs: Sequence[Tensor]
) -> Export:
    """Decide from the file alone how it is served.

    Raises:
        InvalidModel: it cannot be; the sentence says what was found and what to export instead.
    """
    task = metadata.get("task", model_type)
    if task != model_type:
        raise InvalidModel(f"The file stored as {model_type}.onnx says its task is '{_short(task)}'")
    if model_type != "detect":
        raise InvalidModel(f"Models of type {model_type} are not served yet")
    if len(inputs) != 1 or inputs[0].dtype not in _DTYPES or len(inputs[0].shape) != 4:
        raise InvalidModel("The model's input is not one float image batch (batch, 3, height, width)")
    batch, channels, height, width = inputs[0].shape
    if channels not in {3, None}:
        raise InvalidModel(f"The model takes {channels} channels; only RGB (3) is served")
    dynamic = height is None or width is None
    canvas_hw = _image_size(metadata) if dynamic else (height or 0, width or 0)
    if max(canvas_hw) > _MAX_SIDE:
        raise InvalidModel(f"The model's imgsz is {canvas_hw}; up to {_MAX_SIDE} px a side are served")
    labels, layout = _read_detect(metadata, outputs)
    return Export(
        labels=labels,
        layout=layout,
        input_name=inputs[0].name,
        dtype=_DTYPES[inputs[0].dtype],
        canvas_hw=canvas_hw,
        dynamic=dynamic,
        batch=batch,
        stride=_stride(metadata),
    )


def _read_detect(metadata: Mapping[str, str], outputs: Sequence[Tensor]) -> tuple[tuple[str, ...], Layout]:
    names = _names(metadata)
    if len(outputs) != 1 or len(outputs[0].shape) != 3 or outputs[0].dtype not in _DTYPES:
        raise InvalidModel(
            f"A detect model has one output (batch, 4 + classes, boxes); this has {_shapes(outputs)}"
        )
    _, rows, columns = outputs[0].shape
    arguments = _literal(metadata, "args")
    if metadata.get("end2end") == "True" or (isinstance(arguments, dict) and arguments.get("nms")) or columns == 6:
        raise InvalidModel("The model has NMS built in; export it with nms=False, end2end=False")
    if rows is None and names is None:
        raise InvalidModel("Neither the metadata nor the output's shape says how many classes there are")
    if rows is not None and names is not None and rows != _BOX_ROWS + len(names):
        raise InvalidModel(
            f"The metadata names {len(names)} classes; the output {_shapes(outputs)} has room for {rows - 4}"
        )
    if rows is not None and (rows <= _BOX_ROWS or (columns is not None and columns < rows)):
        raise InvalidModel(f"The output {_shapes(outputs)} is not (batch, 4 + classes, boxes)")
    count = len(names) if names is not None else (rows or 0) - _BOX_ROWS
    return names or tuple(f"class{index}" for index in range(count)), "raw"


def _names(metadata: Mapping[str, str]) -> tuple[str, ...] | None:
    """The classes' labels in the order of their ids; None where the file has none."""
    if "names" not in metadata:
        return None
    names = _literal(metadata, "names")
    if isinstance(names, (list, tuple)):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names or set(names) != set(range(len(names))):
        raise InvalidModel("The metadata's names are not labels numbered from 0")
    labels = tuple(str(names[index]) for index in range(len(names)))
    if any(map(_UNPRINTABLE.search, labels)):
        raise InvalidModel("The metadata's names have control characters")
    return labels


def _image_size(metadata: Mapping[str, str]) -> tuple[int, int]:
    size = _literal(metadata, "imgsz") or _DEFAULT_CANVAS_HW
    sides = (size, size) if type(size) is int else size
    if not isinstance(sides, (list, tuple)) or len(sides) != 2 or not all(map(_is_length, sides)):
        raise InvalidModel("The metadata's imgsz is neither a side nor [height, width] in pixels")
    return sides[0], sides[1]


def _stride(metadata: Mapping[str, str]) -> int:
    stride = _literal(metadata, "stride") or 32
    if not _is_length(stride):
        raise InvalidModel("The metadata's stride is not a number of pixels")
    return max(32, int(stride))


def _is_length(value: object) -> bool:
    return type(value) is int and value > 0


def _literal(metadata: Mapping[str, str], key: str) -> Any:
    """The Python literal under `key`; None where there is none. Read as data, never evaluated."""
    if not metadata.get(key):
        return None
    try:
        return ast.literal_eval(metadata[key])
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise InvalidModel(f"The metadata's {key} is not a Python literal") from error


def _shapes(tensors: Sequence[Tensor]) -> str:
    return " and ".join(str(tuple("?" if d is None else d for d in t.shape)) for t in tensors).replace("'", "")


def _short(text: str) -> str:
    return text[:40]
