"""How a model's outputs are to be read: decided once, from the file alone. Pure.

    raw         (batch, 4 + classes + masks, boxes)  centre x, y, width, height in canvas px; scores
    v5          (batch, boxes, 5 + classes + masks)  the same, with objectness before the scores
    end_to_end  (batch, boxes, 6 + masks)            x1, y1, x2, y2 in canvas px, confidence, class
    rtdetr      (batch, boxes, 6)                    centre x, y, width, height in 0 to 1, confidence, class
    rtdetr_raw  (batch, boxes, 4 + classes)          the same boxes, with a score a class
    scores      (batch, classes)                     of the whole image

A segment model has `masks` coefficients a box and a second output (batch, masks, height, width) of prototypes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from shared.errors import InvalidModel
from shared.ml.export_metadata import Metadata
from shared.vision.arrays import SizeHW

ModelType = Literal["detect", "segment", "classify"]
LayoutKind = Literal["raw", "v5", "end_to_end", "rtdetr", "rtdetr_raw", "scores"]
Shape = tuple[int | None, ...]

FLOATS: Final = {"tensor(float)": "float32", "tensor(float16)": "float16"}
_MASKS: Final = 32
_STRIDES: Final = ((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32), (16, 32))  # YOLOv5, its P6 and P2, YOLOv3-tiny
_EXPORT: Final = "export with Ultralytics' format=onnx, which writes metadata"


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """A graph's input or output: dimensions that the file leaves open are None."""

    name: str
    dtype: str
    shape: Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """`labels` is empty where nothing says how many classes there are. `masks`: coefficients a box.

    `first` and `prototypes` are the places of the outputs; `has_nms`: a suppression is built in whose
    thresholds are not known.
    """

    kind: LayoutKind
    labels: tuple[str, ...]
    masks: int = 0
    first: int = 0
    prototypes: int | None = None
    has_nms: bool = False


def read_layout(
    model_type: ModelType,
    metadata: Metadata,
    outputs: Sequence[TensorInfo],
    canvas_hw: SizeHW | None,
) -> Layout:
    """Decide the layout; `canvas_hw` None: the input's size is open.

    Raises:
        InvalidModel: no layout fits, or more than one does.
    """
    if any(output.dtype not in FLOATS for output in outputs):
        raise InvalidModel(f"The outputs {_shapes(outputs)} are not all floats")
    if model_type == "classify":
        return _read_scores(metadata, outputs)
    if model_type == "detect":
        if len(outputs) != 1 or len(outputs[0].shape) != 3:
            raise InvalidModel(
                f"A detect model has one output (batch, 4 + classes, boxes); this has {_shapes(outputs)}: "
                f"{_elsewhere(outputs)}"
            )
        return _read_boxes(metadata, outputs, 0, None, 0, canvas_hw)
    ranks = [len(output.shape) for output in outputs]
    if sorted(ranks) != [3, 4]:
        raise InvalidModel(
            f"A segment model has boxes (3 dimensions) and prototypes (4); this has {_shapes(outputs)}: "
            f"{_elsewhere(outputs)}"
        )
    prototypes = ranks.index(4)
    masks = outputs[prototypes].shape[1] or _MASKS
    return _read_boxes(metadata, outputs, ranks.index(3), prototypes, masks, canvas_hw)


def _read_scores(metadata: Metadata, outputs: Sequence[TensorInfo]) -> Layout:
    if len(outputs) != 1 or len(outputs[0].shape) != 2:
        raise InvalidModel(
            f"A classify model has one output (batch, classes); this has {_shapes(outputs)}: {_elsewhere(outputs)}"
        )
    labels, columns = metadata.labels, outputs[0].shape[1]
    if labels is None and columns is None:
        raise InvalidModel("Neither the metadata nor the output's shape says how many classes there are")
    if labels is not None and columns not in {len(labels), None}:
        raise InvalidModel(
            f"The metadata names {len(labels)} classes; the output {_shapes(outputs)} has {columns}"
        )
    return Layout(kind="scores", labels=labels or _numbered(columns or 0))


def _read_boxes(  # noqa: PLR0917 - all of them are read from the same file
    metadata: Metadata,
    outputs: Sequence[TensorInfo],
    first: int,
    prototypes: int | None,
    masks: int,
    canvas_hw: SizeHW | None,
) -> Layout:
    labels, shape = metadata.labels, outputs[first].shape
    kind = _kind(metadata, shape, masks, canvas_hw)
    _, rows, columns = shape
    if kind == "raw":
        classes, room = (None if rows is None else rows - 4 - masks), rows
    elif kind == "v5":
        classes, room = (None if columns is None else columns - 5 - masks), columns
    elif kind == "rtdetr_raw":
        classes, room = (None if columns is None else columns - 4), columns
    else:
        classes, room = None, columns
        if columns not in {6 + masks, None}:
            raise InvalidModel(
                f"The file says it is end to end; its output {_shapes(outputs)} is not (batch, boxes, {6 + masks})"
            )
    if kind in {"raw", "v5", "rtdetr_raw"}:
        if classes is None and labels is None:
            raise InvalidModel("Neither the metadata nor the output's shape says how many classes there are")
        if classes is not None and labels is not None and classes != len(labels):
            raise InvalidModel(
                f"The metadata names {len(labels)} classes; the output {_shapes(outputs)} is not "
                f"(batch, 4 + classes, boxes) of them: export it anew, without moving its axes"
            )
        if room is not None and (classes or 0) < 1:
            raise InvalidModel(f"The output {_shapes(outputs)} is not (batch, 4 + classes, boxes)")
    return Layout(
        kind=kind,
        labels=labels or _numbered(classes or 0),
        masks=masks,
        first=first,
        prototypes=prototypes,
        has_nms=metadata.has_nms,
    )


def _kind(metadata: Metadata, shape: Shape, masks: int, canvas_hw: SizeHW | None) -> LayoutKind:
    _, rows, columns = shape
    labels = metadata.labels
    if metadata.is_rtdetr:
        return "rtdetr" if columns == 6 else "rtdetr_raw"
    if metadata.is_end_to_end or metadata.has_nms:
        return "end_to_end"
    if labels is not None and rows == 4 + len(labels) + masks:
        return "raw"
    if columns == 6 + masks:
        return _six_columns(metadata, rows, canvas_hw)
    if metadata.task is not None or rows is None or columns is None:
        # Since YOLOv8 exports say their task, and none of them has objectness.
        return "v5" if metadata.task is None and columns is not None else "raw"
    if rows == columns:
        raise InvalidModel(
            f"The output {shape} may be (batch, 4 + classes, boxes) or its transpose: export with metadata"
        )
    if rows > columns and canvas_hw is not None and rows not in _anchors(canvas_hw):
        raise InvalidModel(
            f"The output {shape} has {rows} boxes of {columns} numbers; YOLOv5, three a grid cell, would have "
            f"{_anchors(canvas_hw)[0]}. YOLOX, YOLOv6, DETR and outputs with moved axes are not served: {_EXPORT}"
        )
    return "raw" if rows < columns else "v5"


def _anchors(canvas_hw: SizeHW) -> list[int]:
    """How many boxes YOLOv5 and its variants have on that canvas."""
    height, width = canvas_hw
    return [3 * sum((height // stride) * (width // stride) for stride in strides) for strides in _STRIDES]


def _six_columns(metadata: Metadata, boxes: int | None, canvas_hw: SizeHW | None) -> LayoutKind:
    """Six columns are end to end, or one class of v5: the number of boxes tells, where it is known."""
    if metadata.task is not None or len(metadata.labels or ("one",)) != 1:
        return "end_to_end"
    if boxes is None or canvas_hw is None:
        raise InvalidModel(
            "The output may be end to end, or one class of YOLOv5: export with metadata or a fixed size"
        )
    return "v5" if boxes in _anchors(canvas_hw) else "end_to_end"


def _elsewhere(outputs: Sequence[TensorInfo]) -> str:
    """What outputs look like that are not those of their place, and so what to do."""
    ranks = sorted(len(output.shape) for output in outputs)
    places = {(2,): "classify", (3,): "detect", (3, 4): "segment"}
    if tuple(ranks) in places:
        place = places[tuple(ranks)]
        return f"it looks like a {place} model, whose place is {place}.onnx"
    return _EXPORT


def _numbered(count: int) -> tuple[str, ...]:
    return tuple(f"class{index}" for index in range(count))


def _shapes(tensors: Sequence[TensorInfo]) -> str:
    return " and ".join(str(tuple("?" if d is None else d for d in t.shape)) for t in tensors).replace("'", "")
