"""Boxes with their confidences and classes: the arrays that detectors give, filter and sort."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from shared.vision.arrays import BoolArray, Float32Array, IndexArray, Int64Array


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """n objects: `boxes_xyxy` (n, 4) float32 px, `confidences` (n,) float32, `class_ids` (n,) int64."""

    boxes_xyxy: Float32Array
    confidences: Float32Array
    class_ids: Int64Array

    @classmethod
    def empty(cls) -> Detections:
        return cls(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int64))

    def __len__(self) -> int:
        return len(self.boxes_xyxy)

    def __getitem__(self, index: IndexArray | BoolArray | slice) -> Detections:
        return Detections(self.boxes_xyxy[index], self.confidences[index], self.class_ids[index])

    @property
    def centres(self) -> Float32Array:
        """(n, 2) x, y."""
        return (self.boxes_xyxy[:, :2] + self.boxes_xyxy[:, 2:]) * np.float32(0.5)

    def order(self) -> IndexArray:
        """Indices, strongest first; ties by x1, y1, x2, y2, then class: the same objects in the same order."""
        x1, y1, x2, y2 = self.boxes_xyxy.T
        return np.lexsort((self.class_ids, y2, x2, y1, x1, -self.confidences))

    def sorted(self) -> Detections:
        return self[self.order()]

    @classmethod
    def concatenated(cls, parts: Sequence[Detections]) -> Detections:
        parts = [cls.empty(), *parts]
        return cls(
            np.concatenate([part.boxes_xyxy for part in parts]),
            np.concatenate([part.confidences for part in parts]),
            np.concatenate([part.class_ids for part in parts]),
        )

    def shifted(self, left: int, top: int) -> Detections:
        """The same in a frame whose origin lies `left`, `top` before this one's: a tile's objects in its image."""
        offset = np.array((left, top, left, top), np.float32)
        return Detections(self.boxes_xyxy + offset, self.confidences, self.class_ids)
