"""Decodes the output tensors of Ultralytics-style exports into boxes on the canvas."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from shared.vision.detections import Detections, Floats


def decode_raw(output: npt.NDArray[np.floating], *, classes: int, confidence_threshold: float) -> Detections:
    """Candidates of one image from a raw head, before any suppression.

    `output` is (4 + classes, N): rows of centre x, centre y, width, height in canvas px, then one row of
    scores a class (a score is its confidence: this family has no objectness). An anchor is of its best class,
    and a candidate if that confidence is above the threshold, strictly.

    Gives xyxy in canvas px.
    """
    scores = output[4 : 4 + classes]
    best = scores.max(axis=0)
    chosen = np.flatnonzero(best > confidence_threshold)
    class_ids = scores[:, chosen].argmax(axis=0)
    return Detections(
        xywh_to_xyxy(output[:4, chosen].T.astype(np.float32)), best[chosen].astype(np.float32), class_ids
    )


def xywh_to_xyxy(boxes_xywh: Floats) -> Floats:
    """(n, 4) centre x, centre y, width, height to (n, 4) left, top, right, bottom."""
    centre, half = boxes_xywh[:, :2], boxes_xywh[:, 2:] / 2
    return np.concatenate((centre - half, centre + half), axis=1)
