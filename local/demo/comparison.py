"""Counts what was found against what is really there. Pure; it knows neither pictures nor storage."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from shared.vision.arrays import Float32Array

MATCH_IOU = 0.5


@dataclass(frozen=True)
class Comparison:
    """Three counts by label. `matched`: found where one really is, each real one at most once."""

    there: Mapping[str, int] = field(default_factory=dict)
    found: Mapping[str, int] = field(default_factory=dict)
    matched: Mapping[str, int] = field(default_factory=dict)

    @property
    def labels(self) -> tuple[str, ...]:
        """Those that are really there first, then what else was found."""
        return tuple(dict.fromkeys((*self.there, *self.found)))

    def __add__(self, other: Self) -> Self:
        return type(self)(
            there=_sum(self.there, other.there),
            found=_sum(self.found, other.found),
            matched=_sum(self.matched, other.matched),
        )


def compare(
    detections: Sequence[Mapping[str, Any]],
    labels: Sequence[str],
    boxes_xyxy: Float32Array,
    *,
    classes: Sequence[str],
) -> Comparison:
    """`detections` as in a result document, strongest first; `labels` (n,) and boxes (n, 4) are the truth,
    `classes` all labels that it could hold.

    A detection takes the free box of its label that it overlaps most, if that is MATCH_IOU at least.
    """
    free = np.ones(len(labels), bool)
    names = np.array(labels, object)
    matched: Counter[str] = Counter()
    for detection in detections:
        mine = free & (names == detection["label"])
        overlaps = np.where(mine, ious(np.array(detection["box"], np.float32), boxes_xyxy), 0.0)
        if len(overlaps) and overlaps.max() >= MATCH_IOU:
            free[overlaps.argmax()] = False
            matched[detection["label"]] += 1
    found = Counter(str(detection["label"]) for detection in detections)
    return Comparison(
        there={label: labels.count(label) for label in classes}, found=dict(found), matched=dict(matched)
    )


def total(comparisons: Iterable[Comparison]) -> Comparison:
    return sum(comparisons, start=Comparison())


def ious(box_xyxy: Float32Array, boxes_xyxy: Float32Array) -> Float32Array:
    """(n,) intersection over union of one box with each of (n, 4)."""
    low = np.maximum(box_xyxy[:2], boxes_xyxy[:, :2])
    high = np.minimum(box_xyxy[2:], boxes_xyxy[:, 2:])
    common = np.clip(high - low, 0, None).prod(axis=1)
    area = np.prod(box_xyxy[2:] - box_xyxy[:2])
    areas = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).prod(axis=1)
    shares: Float32Array = common / np.maximum(area + areas - common, np.float32(1e-9))
    return shares


def _sum(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {label: one.get(label, 0) + other.get(label, 0) for label in (*one, *other)}
