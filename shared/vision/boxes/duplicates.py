"""Removes duplicates of objects that were detected in more than one segment."""

from __future__ import annotations

from typing import Final

import numpy as np

from shared.vision.arrays import IndexArray, Int64Array
from shared.vision.boxes.detections import Detections

MIN_DUPLICATE_IOS: Final = 0.5


def deduplicate(detections: Detections, segment_index: Int64Array, *, class_agnostic: bool) -> IndexArray:
    """Suppress each box that overlaps a stronger one of its class from another segment (greedy NMS).

    Boxes overlap if their intersection is at least half of the smaller box (IoS). Boxes of one segment never
    suppress each other: the detector has already decided about them.

    Args:
        detections: n boxes, in px of one frame.
        segment_index: (n,) the segment in which each box was detected.
        class_agnostic: If true, boxes of different classes are duplicates too.

    Returns:
        The indices of the boxes that remain, strongest first.
    """
    order = detections.order()
    x1, y1, x2, y2 = detections.boxes_xyxy[order].T.astype(np.float64)
    areas = (x2 - x1) * (y2 - y1)
    segment_index = segment_index[order]
    class_ids = np.zeros_like(segment_index) if class_agnostic else detections.class_ids[order]
    kept = np.ones(len(order), bool)
    for index in range(len(order)):
        if not kept[index]:
            continue
        width = np.minimum(x2, x2[index]) - np.maximum(x1, x1[index])
        height = np.minimum(y2, y2[index]) - np.maximum(y1, y1[index])
        intersection = np.maximum(width, 0) * np.maximum(height, 0)
        duplicate = (intersection > 0) & (intersection >= MIN_DUPLICATE_IOS * np.minimum(areas, areas[index]))
        duplicate &= (class_ids == class_ids[index]) & (segment_index != segment_index[index])
        duplicate[: index + 1] = False
        kept &= ~duplicate
    return order[kept]
