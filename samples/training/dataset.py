"""Write and read a training set: canvases in one array, and their ground truth."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING

import numpy as np

from samples.scenes import TENANTS
from samples.scenes.scene import Floats, Ints, Pixels
from samples.training.canvases import CANVAS_PX, letterbox_image, random_scene

if TYPE_CHECKING:
    from pathlib import Path

FIRST_TRAINING_SEED = 1_000_000  # seeds below are for evaluation

Truth = tuple[Floats, Ints, Ints, list[Floats]]  # boxes, class ids, state ids, polygons


@dataclass(frozen=True)
class Dataset:
    """Canvases with boxes, states and polygons in canvas px."""

    canvases: Pixels  # (count, 640, 640, 3), memory-mapped
    boxes: list[Floats]  # each (n, 4) xyxy
    class_ids: list[Ints]  # each (n,)
    state_ids: list[Ints]  # each (n,), -1 where an object has no state
    polygons: list[list[Floats]]  # each a list of (k, 2)


def draw(tenant_id: str, folder: Path, count: int, workers: int = 2) -> None:
    """Write `count` canvases of the tenant and their ground truth to the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    shape = (count, CANVAS_PX, CANVAS_PX, 3)
    canvases = np.lib.format.open_memmap(folder / "canvases.npy", "w+", np.uint8, shape)
    seeds = range(FIRST_TRAINING_SEED, FIRST_TRAINING_SEED + count)
    truths: list[Truth] = []
    with ProcessPoolExecutor(workers) as pool:
        for canvas, truth in pool.map(_one, repeat(tenant_id), seeds, chunksize=4):
            canvases[len(truths)] = canvas
            truths.append(truth)
    canvases.flush()
    shapes = [polygon for truth in truths for polygon in truth[3]]
    np.savez(
        folder / "truth.npz",
        objects=np.array([len(truth[0]) for truth in truths]),
        boxes=np.concatenate([truth[0] for truth in truths]),
        class_ids=np.concatenate([truth[1] for truth in truths]),
        state_ids=np.concatenate([truth[2] for truth in truths]),
        areas=np.array([len(truth[3]) for truth in truths]),
        corners=np.array([len(polygon) for polygon in shapes], np.int64),
        points=np.concatenate([*shapes, np.zeros((0, 2), np.float32)]),
    )


def load(folder: Path) -> Dataset:
    """Open a training set that `draw` wrote."""
    truth = np.load(folder / "truth.npz")
    objects = np.cumsum(truth["objects"])[:-1]
    polygons = np.split(truth["points"], np.cumsum(truth["corners"])[:-1])
    ends = np.cumsum(truth["areas"])
    return Dataset(
        canvases=np.load(folder / "canvases.npy", mmap_mode="r"),
        boxes=np.split(truth["boxes"], objects),
        class_ids=np.split(truth["class_ids"], objects),
        state_ids=np.split(truth["state_ids"], objects),
        polygons=[
            polygons[end - number : end]
            for end, number in zip(ends.tolist(), truth["areas"].tolist(), strict=True)
        ],
    )


def _one(tenant_id: str, seed: int) -> tuple[Pixels, Truth]:
    scene = random_scene(tenant_id, seed)
    canvas, transform = letterbox_image(scene.image)
    names = TENANTS[tenant_id].states
    states = [names.index(state) if state else -1 for state in scene.states]
    return canvas, (
        transform.to_canvas(scene.boxes_xyxy),
        scene.class_ids,
        np.array(states, np.int64),
        [transform.to_canvas(segment.polygon) for segment in scene.segments],
    )
