"""Compare the objects in a result with the ground truth, by label."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from shared.vision.arrays import Float32Array

MATCH_IOU = 0.5


@dataclass(frozen=True)
class Comparison:
    """Three counts by label.

    Attributes:
        actual: Objects of the ground truth.
        detected: Objects of the result.
        matched: Detected objects that match an actual one, each actual one at most once.
    """

    actual: Mapping[str, int] = field(default_factory=dict)
    detected: Mapping[str, int] = field(default_factory=dict)
    matched: Mapping[str, int] = field(default_factory=dict)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of the ground truth, then those that were only detected."""
        return tuple(dict.fromkeys((*self.actual, *self.detected)))

    def __add__(self, other: Self) -> Self:
        """Add the counts label by label."""
        return type(self)(
            actual=_sum(self.actual, other.actual),
            detected=_sum(self.detected, other.detected),
            matched=_sum(self.matched, other.matched),
        )


def compare(
    detections: Sequence[Mapping[str, Any]],
    labels: Sequence[str],
    boxes_xyxy: Float32Array,
    *,
    classes: Sequence[str],
) -> Comparison:
    """Match detections greedily with the ground truth.

    Each detection takes the free box of its label with the largest IoU, if that is at least MATCH_IOU.

    Args:
        detections: The detections of a result document, in descending order of confidence.
        labels: The labels of the ground truth, (n,).
        boxes_xyxy: The boxes of the ground truth, (n, 4) image px.
        classes: All labels that the ground truth can have.
    """
    free = np.ones(len(labels), bool)
    names = np.array(labels, object)
    matched: Counter[str] = Counter()
    for detection in detections:
        candidates = free & (names == detection["label"])
        overlaps = np.where(candidates, ious(np.array(detection["box"], np.float32), boxes_xyxy), 0.0)
        if len(overlaps) and overlaps.max() >= MATCH_IOU:
            free[overlaps.argmax()] = False
            matched[detection["label"]] += 1
    detected = Counter(str(detection["label"]) for detection in detections)
    return Comparison(
        actual={label: labels.count(label) for label in classes}, detected=dict(detected), matched=dict(matched)
    )


def total(comparisons: Iterable[Comparison]) -> Comparison:
    """Return the sum of the comparisons."""
    return sum(comparisons, start=Comparison())


def ious(box_xyxy: Float32Array, boxes_xyxy: Float32Array) -> Float32Array:
    """Return the intersection over union of one box (4,) with each of the boxes (n, 4), as (n,)."""
    low = np.maximum(box_xyxy[:2], boxes_xyxy[:, :2])
    high = np.minimum(box_xyxy[2:], boxes_xyxy[:, 2:])
    common = np.clip(high - low, 0, None).prod(axis=1)
    area = np.prod(box_xyxy[2:] - box_xyxy[:2])
    areas = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).prod(axis=1)
    ratios: Float32Array = common / np.maximum(area + areas - common, np.float32(1e-9))
    return ratios


def _sum(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {label: one.get(label, 0) + other.get(label, 0) for label in (*one, *other)}
