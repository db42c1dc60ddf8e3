"""Measure detections against a ground truth: IoU, and average precision as COCO defines it.

The average precision has 101 recall levels, at IoU thresholds from 0.5 to 0.95 (https://cocodataset.org/#detection-eval).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from shared.vision.arrays import BoolArray, FloatArray

IOU_THRESHOLDS: Final = np.arange(0.5, 0.96, 0.05)


@dataclass
class ClassMatches:
    """Accumulates which detections of one class match the ground truth, over many images."""

    truths: int = 0
    scores: list[FloatArray] = field(default_factory=list)
    hits: list[BoolArray] = field(default_factory=list)  # each (n, 10), by threshold

    def add(self, ious: FloatArray, scores: FloatArray) -> None:
        """Add one image: IoUs (detections, truths) and scores (detections,), in descending order of score."""
        self.truths += ious.shape[1]
        self.scores.append(scores)
        self.hits.append(match_detections(ious))

    def average_precisions(self) -> npt.NDArray[np.float64]:
        """Return the average precision at each threshold (10,), NaN if there are no truths."""
        if not self.truths:
            return np.full(len(IOU_THRESHOLDS), np.nan)
        order = np.argsort(-np.concatenate(self.scores), kind="stable")
        hits = np.concatenate(self.hits)[order]
        return np.array([average_precision(column, self.truths) for column in hits.T])


def match_detections(ious: FloatArray) -> BoolArray:
    """Match detections with truths greedily, in descending order of score and then by IoU.

    Args:
        ious: The IoU of each detection with each truth (detections, truths), in descending order of score.

    Returns:
        Whether each detection matches at each threshold (detections, 10).
    """
    detections, truths = ious.shape
    hits = np.zeros((detections, len(IOU_THRESHOLDS)), bool)
    if not truths:
        return hits
    for column, threshold in enumerate(IOU_THRESHOLDS):
        free = np.ones(truths, bool)
        for row in np.flatnonzero(ious.max(1) >= threshold):
            candidates = np.where(free, ious[row], -1.0)
            best = int(candidates.argmax())
            if candidates[best] >= threshold:
                free[best] = False
                hits[row, column] = True
    return hits


def average_precision(hits: BoolArray, truths: int) -> float:
    """Return the area under the precision envelope of hits (n,) in descending order of score."""
    if not len(hits):
        return 0.0
    matched = np.cumsum(hits)
    recall = matched / truths
    precision = matched / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(recall, np.linspace(0, 1, 101), side="left")
    return float(np.where(at < len(hits), envelope[np.minimum(at, len(hits) - 1)], 0.0).mean())


def mean_average_precision(classes: list[ClassMatches]) -> tuple[float, float]:
    """Return mAP50 and mAP50-95 over the classes that have truths, NaN if none has."""
    table = np.stack([matches.average_precisions() for matches in classes])
    if np.isnan(table).all():
        return float("nan"), float("nan")
    return float(np.nanmean(table[:, 0])), float(np.nanmean(table))


def box_ious(one: FloatArray, other: FloatArray) -> FloatArray:
    """Return the intersection over union (n, m) of boxes (n, 4) and (m, 4), xyxy."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    common = (high - low).clip(0).prod(2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(1) for boxes in (one, other)]
    ratios: FloatArray = common / np.maximum(areas[0][:, None] + areas[1][None, :] - common, 1e-9)
    return ratios
