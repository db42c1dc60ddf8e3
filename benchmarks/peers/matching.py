"""Two answers about one image, object by object: what is in both, and how far apart it is there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from shared.vision.arrays import BoolArray, Float64Array, Int64Array, SizeHW

_FAR: Final = 20.0  # px; further apart it is another object


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What both sides are asked: thresholds, and whether masks are wanted at the image's own resolution."""

    confidence: float = 0.25
    iou: float = 0.7
    class_agnostic: bool = False
    max_detections: int = 300
    classes: tuple[int, ...] | None = None
    in_image: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceSetting:
    """`slice_hw` px; `kind` and `metric` by sahi's names."""

    slice_hw: SizeHW = (512, 512)
    overlap: float = 0.2
    full_image: bool = True
    kind: str = "GREEDYNMM"
    metric: str = "IOS"
    threshold: float = 0.5
    class_agnostic: bool = False
    confidence: float = 0.25


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """n objects: `boxes_xyxy` (n, 4) image px, `confidences` (n,), `class_ids` (n,), `masks` n arrays or none."""

    boxes_xyxy: Float64Array
    confidences: Float64Array
    class_ids: Int64Array
    masks: list[BoolArray] | None = None

    def in_the_image(self) -> Answer:
        """Without boxes that clipping has left no area: what lies in the padding is nothing of the image."""
        x1, y1, x2, y2 = self.boxes_xyxy.T
        kept = np.flatnonzero((x1 < x2) & (y1 < y2))
        masks = None if self.masks is None else [self.masks[index] for index in kept.tolist()]
        return Answer(self.boxes_xyxy[kept], self.confidences[kept], self.class_ids[kept], masks)


@dataclass(slots=True)
class Difference:
    """Sums and lists over everything that was added."""

    theirs: int = 0
    ours: int = 0
    coordinates: list[float] = field(default_factory=list)  # px, four of each matched object
    confidences: list[float] = field(default_factory=list)
    mask_ious: list[float] = field(default_factory=list)

    @property
    def matched(self) -> int:
        return len(self.confidences)

    def add(self, theirs: Answer, ours: Answer) -> None:
        theirs, ours = theirs.in_the_image(), ours.in_the_image()
        self.theirs += len(theirs.confidences)
        self.ours += len(ours.confidences)
        for one, other in matches(theirs, ours):
            self.coordinates += np.abs(theirs.boxes_xyxy[one] - ours.boxes_xyxy[other]).tolist()
            self.confidences.append(abs(float(theirs.confidences[one] - ours.confidences[other])))
            if theirs.masks is not None and ours.masks is not None:
                self.mask_ious.append(iou(theirs.masks[one], ours.masks[other]))


def matches(theirs: Answer, ours: Answer) -> list[tuple[int, int]]:
    """Pairs of one class, the nearest first, each object once."""
    if not len(theirs.confidences) or not len(ours.confidences):
        return []
    apart = np.abs(theirs.boxes_xyxy[:, None] - ours.boxes_xyxy[None]).max(axis=2)
    apart += np.abs(theirs.confidences[:, None] - ours.confidences[None])  # of equal boxes the equally sure ones
    apart[theirs.class_ids[:, None] != ours.class_ids[None]] = np.inf
    pairs, one_free, other_free = [], np.ones(apart.shape[0], bool), np.ones(apart.shape[1], bool)
    for place in np.argsort(apart, axis=None, kind="stable").tolist():
        one, other = divmod(place, apart.shape[1])
        if apart[one, other] > _FAR:
            break
        if one_free[one] and other_free[other]:
            one_free[one] = other_free[other] = False
            pairs.append((one, other))
    return pairs


def iou(one: BoolArray, other: BoolArray) -> float:
    """Of two masks (h, w) of one frame; 1 for two empty ones."""
    whole = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / whole if whole else 1.0
