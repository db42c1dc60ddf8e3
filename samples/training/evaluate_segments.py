"""Measures a segmenter on fresh scenes: masks against the polygons of the truth."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np

from samples.scenes import render
from samples.training.canvases import letterboxed
from samples.training.detections import decoded
from samples.training.masks import SMALLEST_PX, filled, opened, overlaps
from samples.training.sessions import CONFIDENCE, run
from testing.metrics import ClassMatches, mean_average_precision

if TYPE_CHECKING:
    from collections.abc import Iterable

    import onnxruntime as ort

    from samples.scenes import Scene

HEAD = (
    "| scenes | areas | found | mask mAP50 | mask mAP50-95 | IoU of an area | IoU of the ground |\n"
    + "| --- " * 7
    + "|"
)
FIRST_FRESH_SEEDS = (500_000, 510_000)  # far below the first training seed
USUAL_PX = (640, 960, 1280)
LARGE_WH, LARGE_PLANTS_PX = (4000, 3000), (36, 48, 70, 100)


@dataclass
class Masks:
    """What the masks of many scenes were worth."""

    ledger: ClassMatches = field(default_factory=ClassMatches)
    best: list[float] = field(default_factory=list)  # IoU of each true area with its best found one
    ground: list[float] = field(default_factory=list)  # IoU of all found with all true, by scene
    found: int = 0

    def __str__(self) -> str:
        """The cells of a row of `HEAD`."""
        map50, map50_95 = mean_average_precision([self.ledger])
        return (
            f"{self.ledger.truths} | {self.found} | {map50:.3f} | {map50_95:.3f} "
            f"| {np.mean(self.best):.3f} | {np.mean(self.ground):.3f}"
        )


def report(tenant_id: str, model: ort.InferenceSession, count: int) -> str:
    """A table: of so many usual scenes, and of four large photographs of small plants."""
    usual = (
        render(tenant_id, seed=FIRST_FRESH_SEEDS[0] + i, size_wh=(width, width * 3 // 4))
        for i, width in zip(range(count), cycle(USUAL_PX), strict=False)
    )
    large = (
        render(tenant_id, seed=FIRST_FRESH_SEEDS[1] + i, size_wh=LARGE_WH, plant_px=plant_px)
        for i, plant_px in enumerate(LARGE_PLANTS_PX)
    )
    rows = [
        f"| {name} | {measured_masks(model, scenes)} |" for name, scenes in (("usual", usual), ("large", large))
    ]
    return "\n".join((HEAD, *rows))


def measured_masks(model: ort.InferenceSession, scenes: Iterable[Scene]) -> Masks:
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
