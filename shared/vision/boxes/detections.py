"""The detections of a model: boxes with their confidences and class ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from shared.vision.arrays import BoolArray, Float32Array, IndexArray, Int64Array


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """n detections: `boxes_xyxy` (n, 4) float32 px, `confidences` (n,) float32, `class_ids` (n,) int64."""

    boxes_xyxy: Float32Array
    confidences: Float32Array
    class_ids: Int64Array

    @classmethod
    def empty(cls) -> Detections:
        """Return no detections, with arrays of the right shapes and types."""
        return cls(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int64))

    def __len__(self) -> int:
        return len(self.boxes_xyxy)

    def __getitem__(self, index: IndexArray | BoolArray | slice) -> Detections:
        return Detections(self.boxes_xyxy[index], self.confidences[index], self.class_ids[index])

    @property
    def centres(self) -> Float32Array:
        """The centres of the boxes, (n, 2) xy."""
        return (self.boxes_xyxy[:, :2] + self.boxes_xyxy[:, 2:]) * np.float32(0.5)

    def order(self) -> IndexArray:
        """Return the indices that sort the detections, strongest first; ties by x1, y1, x2, y2, then class id.

        The order does not depend on that of the input: the same objects always come in the same order.
        """
        x1, y1, x2, y2 = self.boxes_xyxy.T
        return np.lexsort((self.class_ids, y2, x2, y1, x1, -self.confidences))

    def sorted(self) -> Detections:
        """Return the detections in the order of `order`."""
        return self[self.order()]

    @classmethod
    def concatenated(cls, parts: Sequence[Detections]) -> Detections:
        """Return all detections of `parts`, which may be none, one after another."""
        parts = [cls.empty(), *parts]
        return cls(
            np.concatenate([part.boxes_xyxy for part in parts]),
            np.concatenate([part.confidences for part in parts]),
            np.concatenate([part.class_ids for part in parts]),
        )

    def shifted(self, left: int, top: int) -> Detections:
        """Return the detections with their boxes moved by (left, top): from px of a tile to px of its image."""
        offset = np.array((left, top, left, top), np.float32)
        return Detections(self.boxes_xyxy + offset, self.confidences, self.class_ids)
