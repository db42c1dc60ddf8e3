"""Measures a segmenter on fresh scenes: masks against the polygons of the truth."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from examples.training.canvases import letterboxed
from examples.training.detections import decoded
from examples.training.masks import SMALLEST_PX, filled, opened, overlaps
from examples.training.precision import Ledger, mean
from examples.training.sessions import CONFIDENCE, run

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnxruntime as ort

    from examples.scenes import Scene


@dataclass
class Masks:
    """What the masks of many scenes were worth."""

    ledger: Ledger = field(default_factory=Ledger)
    best: list[float] = field(default_factory=list)  # IoU of each true area with its best found one
    ground: list[float] = field(default_factory=list)  # IoU of all found with all true, by scene
    found: int = 0

    def __str__(self) -> str:
        """A line for a person."""
        map50, map50_95 = mean([self.ledger])
        return (
            f"areas {self.ledger.truths}, found {self.found}, mask mAP50 {map50:.3f}, mAP50-95 {map50_95:.3f}, "
            f"IoU of an area {np.mean(self.best):.3f}, IoU of the ground {np.mean(self.ground):.3f}"
        )


def measured_masks(model: ort.InferenceSession, scenes: Sequence[Scene]) -> Masks:
    """Compare masks on the canvas; all areas are of one class."""
    masks, side_px = Masks(), model.get_inputs()[0].shape[2]
    for scene in scenes:
        canvas, fit = letterboxed(scene.image, side_px)
        output, prototypes = run(model, canvas)
        found = decoded(output, 1, 0.05, most=100)
        polygons = [fit.onto(segment.polygon) for segment in scene.segments]
        polygons = [p for p in polygons if (p.max(0) - p.min(0)).min() >= SMALLEST_PX]
        true = np.array([filled(p, side_px) for p in polygons]).reshape(-1, side_px, side_px)
        mine = opened(found, prototypes, side_px)
        shared = overlaps(mine, true)
        masks.ledger.add(shared, found.scores)
        sure = found.scores > CONFIDENCE
        masks.found += int(sure.sum())
        masks.best += shared[sure].max(0, initial=0.0).tolist()
        if len(true):
            masks.ground.append(float(overlaps(mine[sure].any(0)[None], true.any(0)[None])[0, 0]))
    return masks
