"""Evaluate a segmenter: compare its masks with the polygons of the ground truth."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np

from samples.scenes import render
from samples.training.canvases import letterbox_image
from samples.training.raw_output import decode_output
from samples.training.segment_masks import MIN_SIDE_PX, decode_masks, overlaps, polygon_mask
from samples.training.sessions import CONFIDENCE, run_model
from testing.metrics import ClassMatches, mean_average_precision

if TYPE_CHECKING:
    from collections.abc import Iterable

    import onnxruntime as ort

    from samples.scenes import Scene
    from shared.vision.arrays import BoolArray

HEAD = (
    "| scenes | segments | detected | mask mAP50 | mask mAP50-95 | IoU of a segment | IoU of the union |\n"
    + "| --- " * 7
    + "|"
)
FIRST_FRESH_SEEDS = (500_000, 510_000)  # far below the first training seed
USUAL_PX = (640, 960, 1280)
LARGE_WH, LARGE_PLANTS_PX = (4000, 3000), (36, 48, 70, 100)


@dataclass
class MaskEvaluation:
    """Accumulates the results over scenes."""

    matches: ClassMatches = field(default_factory=ClassMatches)
    best_ious: list[float] = field(default_factory=list)  # IoU of each actual segment with the best detected one
    union_ious: list[float] = field(default_factory=list)  # IoU of the union of all segments, by scene
    detections: int = 0

    def __str__(self) -> str:
        """Return the cells of a row below `HEAD`."""
        map50, map50_95 = mean_average_precision([self.matches])
        return (
            f"{self.matches.truths} | {self.detections} | {map50:.3f} | {map50_95:.3f} "
            f"| {np.mean(self.best_ious):.3f} | {np.mean(self.union_ious):.3f}"
        )


def report(tenant_id: str, model: ort.InferenceSession, count: int) -> str:
    """Return a table of `count` usual scenes, and of four large photographs of small plants."""
    usual = (
        render(tenant_id, seed=FIRST_FRESH_SEEDS[0] + i, size_wh=(width, width * 3 // 4))
        for i, width in zip(range(count), cycle(USUAL_PX), strict=False)
    )
    large = (
        render(tenant_id, seed=FIRST_FRESH_SEEDS[1] + i, size_wh=LARGE_WH, plant_px=plant_px)
        for i, plant_px in enumerate(LARGE_PLANTS_PX)
    )
    rows = [
        f"| {name} | {evaluate_segmenter(model, scenes)} |"
        for name, scenes in (("usual", usual), ("large", large))
    ]
    return "\n".join((HEAD, *rows))


def evaluate_segmenter(model: ort.InferenceSession, scenes: Iterable[Scene]) -> MaskEvaluation:
    """Compare masks on the canvas; all segments are of one class."""
    masks, side_px = MaskEvaluation(), model.get_inputs()[0].shape[2]
    for scene in scenes:
        canvas, transform = letterbox_image(scene.image, side_px)
        output, prototypes = run_model(model, canvas)
        detections = decode_output(output, 1, 0.05, max_detections=100)
        polygons = [transform.to_canvas(segment.polygon) for segment in scene.segments]
        polygons = [p for p in polygons if (p.max(0) - p.min(0)).min() >= MIN_SIDE_PX]
        true = np.array([polygon_mask(p, side_px) for p in polygons]).reshape(-1, side_px, side_px)
        mine = decode_masks(detections, prototypes, side_px)
        shared = overlaps(mine, true)
        masks.matches.add(shared, detections.scores)
        sure = detections.scores > CONFIDENCE
        masks.detections += int(sure.sum())
        masks.best_ious += shared[sure].max(0, initial=0.0).tolist()
        if len(true):
            masks.union_ious.append(float(overlaps(_union(mine[sure]), _union(true))[0, 0]))
    return masks


def _union(masks: BoolArray) -> BoolArray:
    """Return the union (1, h, w) of masks (n, h, w)."""
    return np.logical_or.reduce(masks, axis=0, keepdims=True)
