"""Measures an ONNX file on scenes no model has seen, with numpy and ONNX Runtime alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from samples.scenes import TENANTS
from samples.training import evaluate_segments
from samples.training.canvases import CANVAS_PX, any_scene, letterboxed
from samples.training.detections import decoded
from samples.training.evaluate_states import confusion, told
from samples.training.sessions import CONFIDENCE, run, session
from testing.metrics import ClassMatches, box_ious, mean_average_precision

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import onnxruntime as ort

    from samples.scenes import Scene

FIRST_FRESH_SEED = 500_000  # far below the first training seed
BANDS_PX = (("8-14 px", 14.0), ("14-30 px", 30.0), ("30-84 px", 1e9))  # median plant, on the canvas


@dataclass
class Tally:
    """What was found and what was true in the scenes of one band."""

    ledgers: list[ClassMatches]
    found: list[int] = field(default_factory=list)
    true: list[int] = field(default_factory=list)

    @property
    def count_error(self) -> float:
        """Mean of |found - true| / true over scenes that hold at least ten objects."""
        pairs = [(f, t) for f, t in zip(self.found, self.true, strict=True) if t >= 10]
        return float(np.mean([abs(f - t) / t for f, t in pairs])) if pairs else float("nan")


def measured(tenant_id: str, model: ort.InferenceSession, scenes: Sequence[Scene]) -> dict[str, Tally]:
    """Detection tallies by size band, and over everything under "all"."""
    classes = len(TENANTS[tenant_id].labels)
    names = ("all", *(name for name, _ in BANDS_PX))
    tallies = {name: Tally([ClassMatches() for _ in range(classes)]) for name in names}
    for scene in scenes:
        canvas, fit = letterboxed(scene.image, CANVAS_PX)
        found = decoded(run(model, canvas)[0], classes, 0.001)
        true = fit.onto(scene.boxes_xyxy)
        sides = (true[:, 2:] - true[:, :2]).max(1, initial=0.0)
        middle = float(np.median(sides)) if len(sides) else 20.0
        band = next(name for name, end in BANDS_PX if middle <= end)
        for tally in (tallies["all"], tallies[band]):
            tally.found.append(int((found.scores > CONFIDENCE).sum()))
            tally.true.append(len(true))
            for class_id, ledger in enumerate(tally.ledgers):
                mine = found.class_ids == class_id
                ledger.add(box_ious(found.boxes[mine], true[scene.class_ids == class_id]), found.scores[mine])
    return tallies


def fresh_scenes(tenant_id: str, count: int) -> list[Scene]:
    """Scenes of the kind that was trained on, from seeds that were not."""
    return [any_scene(tenant_id, FIRST_FRESH_SEED + i) for i in range(count)]


def report(tenant_id: str, task: str, path: Path, count: int) -> str:
    """What a person wants to know; for a detector mAP and count error by size band."""
    model = session(path)
    if task == "segment":
        return evaluate_segments.report(tenant_id, model, count)
    scenes = fresh_scenes(tenant_id, count)
    if task == "classify":
        return told(tenant_id, confusion(tenant_id, model, scenes))
    tallies = measured(tenant_id, model, scenes)
    lines = [
        "| plants | scenes | objects | mAP50 | mAP50-95 | count error at 0.25 | found / true |",
        "| --- " * 7 + "|",
    ]
    for name, tally in tallies.items():
        map50, map50_95 = mean_average_precision(tally.ledgers)
        share = sum(tally.found) / max(1, sum(tally.true))
        lines.append(
            f"| {name} | {len(tally.true)} | {sum(tally.true)} | {map50:.3f} | {map50_95:.3f} "
            f"| {tally.count_error:.1%} | {share:.3f} |"
        )
    return "\n".join(lines)
