"""Average precision, as COCO counts it: 101 recall levels, IoU from 0.5 to 0.95."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from samples.scenes.scene import Floats

THRESHOLDS = np.arange(0.5, 0.96, 0.05)


@dataclass
class Ledger:
    """Collects hits and misses of one class over many pictures."""

    truths: int = 0
    scores: list[Floats] = field(default_factory=list)
    hits: list[np.ndarray] = field(default_factory=list)  # each (n, 10) bool, by threshold

    def add(self, overlaps: Floats, scores: Floats) -> None:
        """Note one picture: (found, true) overlaps, the surest found first."""
        self.truths += overlaps.shape[1]
        self.scores.append(scores)
        self.hits.append(matched(overlaps))

    def precisions(self) -> Floats:
        """(10,) the average precision at each threshold; nan if there was nothing to find."""
        if not self.truths:
            return np.full(len(THRESHOLDS), np.nan)
        order = np.argsort(-np.concatenate(self.scores), kind="stable")
        hits = np.concatenate(self.hits)[order]
        return np.array([average_precision(column, self.truths) for column in hits.T])


def matched(overlaps: Floats) -> np.ndarray:
    """(found, 10) bool: which found things take a truth that is still free, best overlap first."""
    found, true = overlaps.shape
    hits = np.zeros((found, len(THRESHOLDS)), bool)
    if not true:
        return hits
    for column, threshold in enumerate(THRESHOLDS):
        free = np.ones(true, bool)
        for row in np.flatnonzero(overlaps.max(1) >= threshold):
            choice = np.where(free, overlaps[row], -1.0)
            best = int(choice.argmax())
            if choice[best] >= threshold:
                free[best] = False
                hits[row, column] = True
    return hits


def average_precision(hits: np.ndarray, truths: int) -> float:
    """The area under the precision envelope of ordered hits."""
    if not len(hits):
        return 0.0
    taken = np.cumsum(hits)
    recall = taken / truths
    precision = taken / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(recall, np.linspace(0, 1, 101), side="left")
    return float(np.where(at < len(hits), envelope[np.minimum(at, len(hits) - 1)], 0.0).mean())


def mean(ledgers: list[Ledger]) -> tuple[float, float]:
    """MAP50 and mAP50-95 over classes."""
    table = np.stack([ledger.precisions() for ledger in ledgers])
    if np.isnan(table).all():
        return float("nan"), float("nan")
    return float(np.nanmean(table[:, 0])), float(np.nanmean(table))
