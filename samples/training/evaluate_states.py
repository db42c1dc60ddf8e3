"""Measures a classifier on close-ups of plants from fresh scenes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from samples.scenes import TENANTS
from samples.training.canvases import close_up
from samples.training.sessions import run

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnxruntime as ort

    from samples.scenes import Scene

SMALLEST_PX = 30.0
MOST = 30  # plants of one scene


def confusion(tenant_id: str, model: ort.InferenceSession, scenes: Sequence[Scene]) -> np.ndarray:
    """(nc, nc) how often a plant of the row's state was given the column's."""
    names = TENANTS[tenant_id].states
    table = np.zeros((len(names), len(names)), np.int64)
    for scene in scenes:
        sides = (scene.boxes_xyxy[:, 2:] - scene.boxes_xyxy[:, :2]).min(1, initial=1e9)
        seen = [i for i in np.flatnonzero(sides >= SMALLEST_PX).tolist() if scene.states[i]]
        for i in seen[:MOST]:
            picture = close_up(scene.image, scene.boxes_xyxy[i], margin=0.2)
            (scores,) = run(model, picture)
            table[names.index(scene.states[i]), int(scores.argmax())] += 1
    return table


def told(tenant_id: str, table: np.ndarray) -> str:
    """Accuracy and confusion for a person."""
    names = TENANTS[tenant_id].states
    rows = [
        f"{name}: {dict(zip(names, row.tolist(), strict=True))}" for name, row in zip(names, table, strict=True)
    ]
    return "\n".join([f"plants {table.sum()}, accuracy {np.trace(table) / max(1, table.sum()):.3f}", *rows])
