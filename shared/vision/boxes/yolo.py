"""Decodes the output tensors of one image into candidate boxes on the canvas, before any suppression.

All functions take `thresholds`, one a class: a candidate is of its best class, and its confidence above that
class's threshold, strictly. They give the candidates and the columns that are left, mask coefficients (n, m).
"""

from __future__ import annotations

import numpy as np

from shared.vision.arrays import Float32Array, FloatArray, SizeHW
from shared.vision.boxes.detections import Detections

Tensor = FloatArray
Candidates = tuple[Detections, Float32Array]


def decode_raw(output: Tensor, thresholds: Float32Array) -> Candidates:
    """`output` (4 + classes + masks, N): centre x, centre y, width, height in canvas px, then scores."""
    classes = len(thresholds)
    scores = output[4 : 4 + classes]
    best = scores.max(axis=0)
    likely = np.flatnonzero(best > thresholds.min(initial=np.inf))
    class_ids = scores[:, likely].argmax(axis=0)
    chosen = best[likely] > thresholds[class_ids]
    likely, class_ids = likely[chosen], class_ids[chosen]
    # In the precision of the file: corners of float16 are rounded to it, as the reference rounds them.
    boxes = xywh_to_xyxy(output[:4, likely].T).astype(np.float32)
    found = Detections(boxes, best[likely].astype(np.float32), class_ids)
    return found, output[4 + classes :, likely].T.astype(np.float32)


def decode_v5(output: Tensor, thresholds: Float32Array) -> Candidates:
    """`output` (N, 5 + classes + masks): as raw, but a confidence is objectness times score."""
    likely = output[output[:, 4] > thresholds.min(initial=np.inf)].astype(np.float32)
    columns = likely.T.copy()
    columns[5 : 5 + len(thresholds)] *= columns[4]
    return decode_raw(np.delete(columns, 4, axis=0), thresholds)


def decode_end_to_end(output: Tensor, thresholds: Float32Array) -> Candidates:
    """`output` (N, 6 + masks): x1, y1, x2, y2 in canvas px, confidence, class; the rows not used are zeros."""
    rows = output.astype(np.float32)
    rows = rows[rows[:, 4] > thresholds.min(initial=np.inf)]
    rows = rows[(rows[:, 5] >= 0) & (rows[:, 5] < len(thresholds))]
    class_ids = rows[:, 5].astype(np.int64)
    chosen = rows[:, 4] > thresholds[class_ids]
    rows = rows[chosen]
    return Detections(rows[:, :4], rows[:, 4], class_ids[chosen]), rows[:, 6:]


def decode_rtdetr(output: Tensor, thresholds: Float32Array, canvas_hw: SizeHW) -> Candidates:
    """`output` (N, 6): centre x, centre y, width, height in 0 to 1 of the canvas, confidence, class."""
    rows = output.astype(np.float32)
    rows[:, :4] = _on_canvas(rows[:, :4], canvas_hw)
    return decode_end_to_end(rows, thresholds)


def decode_rtdetr_raw(output: Tensor, thresholds: Float32Array, canvas_hw: SizeHW) -> Candidates:
    """`output` (N, 4 + classes): the same boxes, then a score a class."""
    columns = output.T.astype(np.float32)
    columns[[0, 2]] *= canvas_hw[1]
    columns[[1, 3]] *= canvas_hw[0]
    return decode_raw(columns, thresholds)


def xywh_to_xyxy(boxes_xywh: Tensor) -> Tensor:
    """(n, 4) centre x, centre y, width, height to (n, 4) left, top, right, bottom."""
    centre, half = boxes_xywh[:, :2], boxes_xywh[:, 2:] / 2
    return np.concatenate((centre - half, centre + half), axis=1)


def _on_canvas(boxes: Float32Array, canvas_hw: SizeHW) -> Float32Array:
    height, width = canvas_hw
    return xywh_to_xyxy(boxes * np.array((width, height, width, height), np.float32))
