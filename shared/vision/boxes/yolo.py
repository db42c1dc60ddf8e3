"""Decodes the outputs of exported YOLO and RT-DETR models into candidate boxes, one function for each layout.

Every function decodes the output of one image, before suppression. `thresholds` (classes,) has the confidence
threshold of each class. An anchor becomes a candidate of its best class if its confidence is greater than the
threshold of that class. The columns behind the classes are mask coefficients. All functions return the candidates,
with boxes in canvas px and their corners in order, and their mask coefficients (n, masks).

A confidence that is not finite is an InvalidModel, wherever it is: a comparison with NaN is false, so that a model
of NaN everywhere would otherwise be one that detects nothing.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from shared.errors import InvalidModel
from shared.vision.arrays import Float32Array, FloatArray, SizeHW
from shared.vision.boxes.detections import Detections

_HALF_EXPONENT: Final = np.uint16(0x7C00)  # all bits set: NaN or infinity

Candidates = tuple[Detections, Float32Array]  # n detections, (n, masks) mask coefficients


def decode_raw(output: FloatArray, thresholds: Float32Array) -> Candidates:
    """Decode the raw layout of YOLOv8 and later: anchors without objectness, before suppression.

    `output` (4 + classes + masks, N): centre x, centre y, width, height in canvas px, then scores.
    """
    classes = len(thresholds)
    scores = output[4 : 4 + classes]
    best = scores.max(axis=0)
    ensure_finite(best, "confidences")
    likely = np.flatnonzero(best > thresholds.min(initial=np.inf))
    class_ids = scores[:, likely].argmax(axis=0)
    chosen = best[likely] > thresholds[class_ids]
    likely, class_ids = likely[chosen], class_ids[chosen]
    # The corners are computed in the precision of the output: the reference rounds those of float16 too.
    boxes_xyxy = xywh_to_xyxy(output[:4, likely].T).astype(np.float32)
    detections = Detections(_with_corners_in_order(boxes_xyxy), best[likely].astype(np.float32), class_ids)
    return detections, output[4 + classes :, likely].T.astype(np.float32)


def decode_v5(output: FloatArray, thresholds: Float32Array) -> Candidates:
    """Decode the layout of YOLOv5 and its variants, in which a confidence is objectness times score.

    `output` (N, 5 + classes + masks): centre x, centre y, width, height in canvas px, objectness, then scores.
    """
    objectness = output[:, 4].copy()  # two passes over a column take longer than to copy it first
    ensure_finite(objectness, "confidences")
    likely = output[objectness > thresholds.min(initial=np.inf)].astype(np.float32)
    columns = likely.T.copy()
    columns[5 : 5 + len(thresholds)] *= columns[4]
    return decode_raw(np.delete(columns, 4, axis=0), thresholds)


def decode_end_to_end(output: FloatArray, thresholds: Float32Array) -> Candidates:
    """Decode the end-to-end layout of YOLOv10, YOLO26 and exports with built-in NMS.

    `output` (N, 6 + masks): x1, y1, x2, y2 in canvas px, confidence, class id. Unused rows are zeros. Rows of
    classes without a threshold are ignored.
    """
    rows = output.astype(np.float32)
    ensure_finite(rows[:, 4], "confidences")
    rows = rows[rows[:, 4] > thresholds.min(initial=np.inf)]
    ensure_finite(rows[:, 5], "class ids")
    rows = rows[(rows[:, 5] >= 0) & (rows[:, 5] < len(thresholds))]
    class_ids = rows[:, 5].astype(np.int64)
    chosen = rows[:, 4] > thresholds[class_ids]
    rows = rows[chosen]
    return Detections(_with_corners_in_order(rows[:, :4]), rows[:, 4], class_ids[chosen]), rows[:, 6:]


def decode_rtdetr(output: FloatArray, thresholds: Float32Array, canvas_hw: SizeHW) -> Candidates:
    """Decode the layout of RT-DETR with its classes already selected.

    `output` (N, 6): centre x, centre y, width, height from 0 to 1 of the canvas, confidence, class id.
    """
    rows = output.astype(np.float32)
    rows[:, :4] = _to_canvas_xyxy(rows[:, :4], canvas_hw)
    return decode_end_to_end(rows, thresholds)


def decode_rtdetr_raw(output: FloatArray, thresholds: Float32Array, canvas_hw: SizeHW) -> Candidates:
    """Decode the layout of RT-DETR with a score for each class.

    `output` (N, 4 + classes): centre x, centre y, width, height from 0 to 1 of the canvas, then scores.
    """
    columns = output.T.astype(np.float32)
    columns[[0, 2]] *= canvas_hw[1]
    columns[[1, 3]] *= canvas_hw[0]
    return decode_raw(columns, thresholds)


def xywh_to_xyxy(boxes_xywh: FloatArray) -> FloatArray:
    """Convert (n, 4) centre x, centre y, width, height to (n, 4) x1, y1, x2, y2."""
    centre, half = boxes_xywh[:, :2], boxes_xywh[:, 2:] / 2
    return np.concatenate((centre - half, centre + half), axis=1)


def ensure_finite(values: FloatArray, name: str) -> None:
    """Check that a model's values, `name` in the message, are neither NaN nor infinite.

    Raises:
        InvalidModel: One of them is.
    """
    if values.dtype == np.float16:  # its bits are compared, because NumPy converts half precision one by one
        finite = ((values.view(np.uint16) & _HALF_EXPONENT) != _HALF_EXPONENT).all()
    else:
        finite = np.isfinite(values).all()
    if not finite:
        raise InvalidModel(
            f"The model's {name} are not finite numbers (NaN or infinity): check its weights, and export it in "
            f"float32 if it is in float16"
        )


def _with_corners_in_order(boxes_xyxy: Float32Array) -> Float32Array:
    """Return (n, 4) with x1 <= x2 and y1 <= y2. A model may give negative widths or swapped corners."""
    corners = boxes_xyxy.reshape(-1, 2, 2)
    if (corners[:, 0] <= corners[:, 1]).all():
        return boxes_xyxy
    return np.concatenate((corners.min(axis=1), corners.max(axis=1)), axis=1)


def _to_canvas_xyxy(boxes: Float32Array, canvas_hw: SizeHW) -> Float32Array:
    """Convert (n, 4) centre x, centre y, width, height from 0 to 1 of the canvas to xyxy in canvas px."""
    height, width = canvas_hw
    return xywh_to_xyxy(boxes * np.array((width, height, width, height), np.float32))
