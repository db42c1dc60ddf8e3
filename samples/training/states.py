"""Close-ups of single plants for the classifier, each with the state of its health."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from samples.training.batches import lit, turned
from samples.training.canvases import CLOSE_UP_PX as SIDE_PX
from samples.training.canvases import close_up

if TYPE_CHECKING:
    from torch import Tensor

    from samples.training.dataset import Dataset

SMALLEST_PX = 26.0  # on the canvas: of smaller plants nobody could tell


def batch(rng: np.random.Generator, dataset: Dataset, count: int) -> tuple[Tensor, Tensor]:
    """(B, 3, 96, 96) in [0, 1] and (B,) the state in the middle of each, all states alike often."""
    images = np.empty((count, SIDE_PX, SIDE_PX, 3), np.uint8)
    states = np.empty(count, np.int64)
    done = 0
    while done < count:
        index = int(rng.integers(len(dataset.canvases)))
        boxes, known = dataset.boxes[index], dataset.state_ids[index]
        wanted = int(rng.integers(3))
        fit = np.flatnonzero(
            (known == wanted) & ((boxes[:, 2:] - boxes[:, :2]).min(1, initial=1e9) >= SMALLEST_PX)
        )
        if not len(fit):
            continue
        box = boxes[fit[int(rng.integers(len(fit)))]]
        picture = close_up(dataset.canvases[index], box, margin=rng.uniform(0.0, 0.5))
        images[done], states[done] = turned(picture, int(rng.integers(8))), wanted
        done += 1
    return lit(rng, images), torch.from_numpy(states)
