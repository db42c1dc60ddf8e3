"""Evaluate an ONNX file on scenes outside the training set, with NumPy and ONNX Runtime alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from samples.scenes import TENANTS
from samples.training import evaluate_segments
from samples.training.canvases import CANVAS_PX, letterbox_image, random_scene
from samples.training.evaluate_states import confusion_matrix, state_report
from samples.training.raw_output import decode_output
from samples.training.sessions import CONFIDENCE, open_session, run_model
from testing.metrics import ClassMatches, box_ious, mean_average_precision

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import onnxruntime as ort

    from samples.scenes import Scene

FIRST_FRESH_SEED = 500_000  # far below the first training seed
BANDS_PX = (
    ("8-14 px", 14.0),
    ("14-30 px", 30.0),
    ("30-84 px", 1e9),
)  # upper bound of the median plant, on the canvas


@dataclass
class Evaluation:
    """The detections and the ground truth in the scenes of one size band."""

    matches_by_class: list[ClassMatches]
    detections: list[int] = field(default_factory=list)
    true: list[int] = field(default_factory=list)

    @property
    def count_error(self) -> float:
        """The mean of |detected - actual| / actual over scenes with at least ten objects."""
        pairs = [(f, t) for f, t in zip(self.detections, self.true, strict=True) if t >= 10]
        return float(np.mean([abs(f - t) / t for f, t in pairs])) if pairs else float("nan")


def evaluate_detector(
    tenant_id: str, model: ort.InferenceSession, scenes: Sequence[Scene]
) -> dict[str, Evaluation]:
    """Evaluate detections by size band, and for all scenes under "all"."""
    classes = len(TENANTS[tenant_id].labels)
    names = ("all", *(name for name, _ in BANDS_PX))
    evaluations = {name: Evaluation([ClassMatches() for _ in range(classes)]) for name in names}
    for scene in scenes:
        canvas, transform = letterbox_image(scene.image, CANVAS_PX)
        detections = decode_output(run_model(model, canvas)[0], classes, 0.001)
        true = transform.to_canvas(scene.boxes_xyxy)
        sides = (true[:, 2:] - true[:, :2]).max(1, initial=0.0)
        middle = float(np.median(sides)) if len(sides) else 20.0
        band = next(name for name, end in BANDS_PX if middle <= end)
        for evaluation in (evaluations["all"], evaluations[band]):
            evaluation.detections.append(int((detections.scores > CONFIDENCE).sum()))
            evaluation.true.append(len(true))
            for class_id, matches in enumerate(evaluation.matches_by_class):
                mine = detections.class_ids == class_id
                matches.add(
                    box_ious(detections.boxes[mine], true[scene.class_ids == class_id]), detections.scores[mine]
                )
    return evaluations


def fresh_scenes(tenant_id: str, count: int) -> list[Scene]:
    """Draw scenes like those of the training set, from other seeds."""
    return [random_scene(tenant_id, FIRST_FRESH_SEED + i) for i in range(count)]


def report(tenant_id: str, task: str, path: Path, count: int) -> str:
    """Return the results as text; for a detector a table of mAP and count error by size band."""
    model = open_session(path)
    if task == "segment":
        return evaluate_segments.report(tenant_id, model, count)
    scenes = fresh_scenes(tenant_id, count)
    if task == "classify":
        return state_report(tenant_id, confusion_matrix(tenant_id, model, scenes))
    evaluations = evaluate_detector(tenant_id, model, scenes)
    lines = [
        "| plants | scenes | objects | mAP50 | mAP50-95 | count error at 0.25 | detected / actual |",
        "| --- " * 7 + "|",
    ]
    for name, evaluation in evaluations.items():
        map50, map50_95 = mean_average_precision(evaluation.matches_by_class)
        share = sum(evaluation.detections) / max(1, sum(evaluation.true))
        lines.append(
            f"| {name} | {len(evaluation.true)} | {sum(evaluation.true)} | {map50:.3f} | {map50_95:.3f} "
            f"| {evaluation.count_error:.1%} | {share:.3f} |"
        )
    return "\n".join(lines)
