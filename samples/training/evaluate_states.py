"""Evaluate a classifier on close-ups of plants from scenes outside the training set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from samples.scenes import TENANTS
from samples.training.canvases import close_up
from samples.training.sessions import run_model

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnxruntime as ort

    from samples.scenes import Scene

MIN_SIDE_PX = 30.0
MAX_PLANTS_PER_SCENE = 30


def confusion_matrix(tenant_id: str, model: ort.InferenceSession, scenes: Sequence[Scene]) -> np.ndarray:
    """Return how often a plant of each state (row) was classified as each state (column), (nc, nc)."""
    names = TENANTS[tenant_id].states
    table = np.zeros((len(names), len(names)), np.int64)
    for scene in scenes:
        sides = (scene.boxes_xyxy[:, 2:] - scene.boxes_xyxy[:, :2]).min(1, initial=1e9)
        seen = [i for i in np.flatnonzero(sides >= MIN_SIDE_PX).tolist() if scene.states[i]]
        for i in seen[:MAX_PLANTS_PER_SCENE]:
            picture = close_up(scene.image, scene.boxes_xyxy[i], margin=0.2)
            (scores,) = run_model(model, picture)
            table[names.index(scene.states[i]), int(scores.argmax())] += 1
    return table


def state_report(tenant_id: str, table: np.ndarray) -> str:
    """Return the accuracy and the confusion matrix as text."""
    names = TENANTS[tenant_id].states
    rows = [
        f"{name}: {dict(zip(names, row.tolist(), strict=True))}" for name, row in zip(names, table, strict=True)
    ]
    return "\n".join([f"plants {table.sum()}, accuracy {np.trace(table) / max(1, table.sum()):.3f}", *rows])
