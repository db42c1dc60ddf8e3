"""Match the predictions of two implementations for one image, and measure how much they differ."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from shared.vision.arrays import BoolArray, Float64Array, Int64Array, SizeHW

_MAX_MATCH_DISTANCE: Final = 20.0  # px


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """The options for both sides; `in_image` asks for masks at the image's own resolution."""

    confidence: float = 0.25
    iou: float = 0.7
    class_agnostic: bool = False
    max_detections: int = 300
    classes: tuple[int, ...] | None = None
    in_image: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceSetting:
    """The options of slicing for both sides; `kind` and `metric` have sahi's names."""

    slice_hw: SizeHW = (512, 512)
    overlap: float = 0.2
    full_image: bool = True
    kind: str = "GREEDYNMM"
    metric: str = "IOS"
    threshold: float = 0.5
    class_agnostic: bool = False
    confidence: float = 0.25


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """The n objects in one image: boxes (n, 4) image px, confidences (n,), class ids (n,), and maybe n masks."""

    boxes_xyxy: Float64Array
    confidences: Float64Array
    class_ids: Int64Array
    masks: list[BoolArray] | None = None

    def without_empty_boxes(self) -> Predictions:
        """Return the predictions without boxes that clipping to the image left without area."""
        x1, y1, x2, y2 = self.boxes_xyxy.T
        kept = np.flatnonzero((x1 < x2) & (y1 < y2))
        masks = None if self.masks is None else [self.masks[index] for index in kept.tolist()]
        return Predictions(self.boxes_xyxy[kept], self.confidences[kept], self.class_ids[kept], masks)


@dataclass(slots=True)
class Difference:
    """Accumulates the differences over images."""

    theirs: int = 0
    ours: int = 0
    coordinates: list[float] = field(default_factory=list)  # px, four of each matched object
    confidences: list[float] = field(default_factory=list)
    mask_ious: list[float] = field(default_factory=list)

    @property
    def matched(self) -> int:
        return len(self.confidences)

    def add(self, theirs: Predictions, ours: Predictions) -> None:
        theirs, ours = theirs.without_empty_boxes(), ours.without_empty_boxes()
        self.theirs += len(theirs.confidences)
        self.ours += len(ours.confidences)
        for one, other in matches(theirs, ours):
            self.coordinates += np.abs(theirs.boxes_xyxy[one] - ours.boxes_xyxy[other]).tolist()
            self.confidences.append(abs(float(theirs.confidences[one] - ours.confidences[other])))
            if theirs.masks is not None and ours.masks is not None:
                self.mask_ious.append(iou(theirs.masks[one], ours.masks[other]))


def matches(theirs: Predictions, ours: Predictions) -> list[tuple[int, int]]:
    """Return index pairs of the same class, matched greedily by distance, each object once."""
    if not len(theirs.confidences) or not len(ours.confidences):
        return []
    distances = np.abs(theirs.boxes_xyxy[:, None] - ours.boxes_xyxy[None]).max(axis=2)
    distances += np.abs(theirs.confidences[:, None] - ours.confidences[None])  # breaks ties between equal boxes
    distances[theirs.class_ids[:, None] != ours.class_ids[None]] = np.inf
    pairs, one_free, other_free = [], np.ones(distances.shape[0], bool), np.ones(distances.shape[1], bool)
    for pair_index in np.argsort(distances, axis=None, kind="stable").tolist():
        one, other = divmod(pair_index, distances.shape[1])
        if distances[one, other] > _MAX_MATCH_DISTANCE:
            break
        if one_free[one] and other_free[other]:
            one_free[one] = other_free[other] = False
            pairs.append((one, other))
    return pairs


def iou(one: BoolArray, other: BoolArray) -> float:
    """Return the intersection over union of two masks (h, w) of one frame; 1 if both are empty."""
    whole = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / whole if whole else 1.0
