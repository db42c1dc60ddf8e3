"""Decides the layout of a model's outputs from its metadata and shapes alone, once, when the model is loaded.

    raw         (batch, 4 + classes + masks, boxes)  centre x, y, width, height in canvas px; a score per class
    v5          (batch, boxes, 5 + classes + masks)  the same, with objectness before the scores
    end_to_end  (batch, boxes, 6 + masks)            x1, y1, x2, y2 in canvas px, confidence, class id
    rtdetr      (batch, boxes, 6)                    centre x, y, width, height in 0 to 1, confidence, class id
    rtdetr_raw  (batch, boxes, 4 + classes)          the same boxes, with a score per class
    scores      (batch, classes)                     scores of the whole image

A segment model has `masks` mask coefficients per box, and a second output of prototypes (batch, masks, height,
width). (https://docs.ultralytics.com/modes/export)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from shared.errors import InvalidModel
from shared.ml.export_metadata import Metadata, ensure_label_count
from shared.vision.arrays import SizeHW

ModelType = Literal["detect", "segment", "classify"]
LayoutKind = Literal["raw", "v5", "end_to_end", "rtdetr", "rtdetr_raw", "scores"]
Shape = tuple[int | None, ...]

FLOATS: Final = {"tensor(float)": "float32", "tensor(float16)": "float16"}
_DEFAULT_MASK_COEFFICIENTS: Final = 32
_V5_STRIDES: Final = ((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32), (16, 32))  # YOLOv5, P6, P2, YOLOv3-tiny
_EXPORT_ADVICE: Final = "export it with Ultralytics' format=onnx, which writes metadata"
_UNKNOWN_CLASS_COUNT: Final = (
    "The number of classes is unknown: neither the metadata's names nor the output's shape has it"
)


@dataclass(frozen=True, slots=True, eq=False)
class TensorInfo:
    """An input or output of a graph; dynamic dimensions are None."""

    name: str
    dtype: str
    shape: Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The layout of a model's outputs.

    `labels` is empty if the number of classes is unknown. `mask_coefficients` is their number per box.
    `output_index` is the index of the output with boxes or scores, `prototypes_index` that of the prototypes.
    `has_nms`: the graph includes a suppression, whose thresholds are unknown.
    """

    kind: LayoutKind
    labels: tuple[str, ...]
    mask_coefficients: int = 0
    output_index: int = 0
    prototypes_index: int | None = None
    has_nms: bool = False


def read_layout(
    model_type: ModelType,
    metadata: Metadata,
    outputs: Sequence[TensorInfo],
    canvas_hw: SizeHW | None,
) -> Layout:
    """Decide the layout of a model's outputs; `canvas_hw` is None if the input's size is dynamic.

    Raises:
        InvalidModel: No layout fits, or several do.
    """
    if any(output.dtype not in FLOATS for output in outputs):
        raise InvalidModel(f"The outputs {_shapes(outputs)} must all be float32 or float16")
    if model_type == "classify":
        return _read_scores(metadata, outputs)
    if model_type == "detect":
        if len(outputs) != 1 or len(outputs[0].shape) != 3:
            raise InvalidModel(
                f"A detect model has one output (batch, 4 + classes, boxes); this one has {_shapes(outputs)}: "
                f"{_advice(outputs)}"
            )
        return _read_boxes(metadata, outputs, 0, None, 0, canvas_hw)
    ranks = [len(output.shape) for output in outputs]
    if sorted(ranks) != [3, 4]:
        raise InvalidModel(
            f"A segment model has two outputs, boxes (3 dimensions) and prototypes (4); this one has "
            f"{_shapes(outputs)}: {_advice(outputs)}"
        )
    prototypes = ranks.index(4)
    coefficients = outputs[prototypes].shape[1] or _DEFAULT_MASK_COEFFICIENTS
    return _read_boxes(metadata, outputs, ranks.index(3), prototypes, coefficients, canvas_hw)


def _read_scores(metadata: Metadata, outputs: Sequence[TensorInfo]) -> Layout:
    if len(outputs) != 1 or len(outputs[0].shape) != 2:
        raise InvalidModel(
            f"A classify model has one output (batch, classes); this one has {_shapes(outputs)}: "
            f"{_advice(outputs)}"
        )
    labels, columns = metadata.labels, outputs[0].shape[1]
    if labels is None and columns is None:
        raise InvalidModel(_UNKNOWN_CLASS_COUNT)
    if labels is not None and columns not in {len(labels), None}:
        raise InvalidModel(
            f"The metadata names {len(labels)} classes; the output {_shapes(outputs)} has {columns} scores"
        )
    return Layout(kind="scores", labels=labels or _numbered(columns or 0))


def _read_boxes(  # noqa: PLR0917 - all of them are read from the same file
    metadata: Metadata,
    outputs: Sequence[TensorInfo],
    output_index: int,
    prototypes_index: int | None,
    mask_coefficients: int,
    canvas_hw: SizeHW | None,
) -> Layout:
    labels, shape = metadata.labels, outputs[output_index].shape
    kind = _kind(metadata, shape, mask_coefficients, canvas_hw)
    _, rows, columns = shape
    if kind in {"end_to_end", "rtdetr"}:
        classes = None
        if columns not in {6 + mask_coefficients, None}:
            raise InvalidModel(
                f"The metadata says that the model is end to end, but its output {_shapes(outputs)} is not "
                f"(batch, boxes, {6 + mask_coefficients})"
            )
    else:
        size, others = {
            "raw": (rows, 4 + mask_coefficients),
            "v5": (columns, 5 + mask_coefficients),
            "rtdetr_raw": (columns, 4),
        }[kind]
        classes = None if size is None else size - others
        _check_classes(classes, labels, _shapes(outputs))
    return Layout(
        kind=kind,
        labels=labels or _numbered(classes or 0),
        mask_coefficients=mask_coefficients,
        output_index=output_index,
        prototypes_index=prototypes_index,
        has_nms=metadata.has_nms,
    )


def _check_classes(classes: int | None, labels: tuple[str, ...] | None, shapes: str) -> None:
    """Check the number of classes of an output with a score per class; None if that dimension is dynamic."""
    if classes is None and labels is None:
        raise InvalidModel(_UNKNOWN_CLASS_COUNT)
    if classes is not None and labels is not None and classes != len(labels):
        raise InvalidModel(
            f"The metadata names {len(labels)} classes, but the output {shapes} is not "
            f"(batch, 4 + classes, boxes) of them: export it again, without moving its axes"
        )
    if classes is not None and classes < 1:
        raise InvalidModel(f"The output {shapes} is not (batch, 4 + classes, boxes)")


def _kind(metadata: Metadata, shape: Shape, mask_coefficients: int, canvas_hw: SizeHW | None) -> LayoutKind:
    _, rows, columns = shape
    labels = metadata.labels
    if metadata.is_rtdetr:
        return "rtdetr" if columns == 6 else "rtdetr_raw"
    if metadata.is_end_to_end or metadata.has_nms:
        return "end_to_end"
    if labels is not None and rows == 4 + len(labels) + mask_coefficients:
        return "raw"
    if columns == 6 + mask_coefficients:
        return _kind_of_six_columns(metadata, shape, canvas_hw)
    if metadata.task is not None or rows is None or columns is None:
        # Exports have declared their task since YOLOv8, and no export since then has objectness.
        return "v5" if metadata.task is None and columns is not None else "raw"
    if rows == columns:
        raise InvalidModel(
            f"The output {shape} is ambiguous: it may be (batch, 4 + classes, boxes) or its transpose; "
            f"{_EXPORT_ADVICE}"
        )
    if rows > columns and canvas_hw is not None and rows not in _v5_box_counts(canvas_hw):
        raise InvalidModel(
            f"The output {shape} has {rows} boxes of {columns} numbers; YOLOv5 has {_v5_box_counts(canvas_hw)[0]} "
            f"boxes, three per grid cell. YOLOX, YOLOv6, DETR and outputs with moved axes are not supported: "
            f"{_EXPORT_ADVICE}"
        )
    return "raw" if rows < columns else "v5"


def _v5_box_counts(canvas_hw: SizeHW) -> list[int]:
    """Return the number of boxes that YOLOv5 and each of its variants have on that canvas."""
    height, width = canvas_hw
    return [3 * sum((height // stride) * (width // stride) for stride in strides) for strides in _V5_STRIDES]


def _kind_of_six_columns(metadata: Metadata, shape: Shape, canvas_hw: SizeHW | None) -> LayoutKind:
    """Tell end to end from layouts with a single class: by the metadata, or by the number of boxes.

    Without metadata nothing tells end to end from YOLOX and YOLOv6 with one class, whose boxes would be garbage.
    Those have no prototypes.
    """
    if metadata.task is not None or len(metadata.labels or ("one",)) != 1:
        return "end_to_end"
    _, boxes, columns = shape
    if boxes is not None and canvas_hw is not None:
        if boxes in _v5_box_counts(canvas_hw):
            return "v5"
        if columns != 6:
            return "end_to_end"
    raise InvalidModel(
        f"The output {_described(shape)} has {columns} numbers per box, and no metadata says what they mean: the "
        f"model may be end to end, or YOLOX, YOLOv5 or YOLOv6 with one class; {_EXPORT_ADVICE}"
    )


def _advice(outputs: Sequence[TensorInfo]) -> str:
    """Return what to do with a model whose outputs are not those of its type: store it as another, if they fit."""
    types: dict[tuple[int, ...], ModelType] = {(2,): "classify", (3,): "detect", (3, 4): "segment"}
    model_type = types.get(tuple(sorted(len(output.shape) for output in outputs)))
    if model_type is None:
        return _EXPORT_ADVICE
    return f"if it is a {model_type} model, store it as {model_type}.onnx"


def _numbered(count: int) -> tuple[str, ...]:
    ensure_label_count(count)
    return tuple(f"class{index}" for index in range(count))


def _shapes(tensors: Sequence[TensorInfo]) -> str:
    return " and ".join(_described(tensor.shape) for tensor in tensors)


def _described(shape: Shape) -> str:
    return str(tuple("?" if size is None else size for size in shape)).replace("'", "")
