"""Make batches of close-ups of plants for the classifier, each with its state of health."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from samples.training.canvases import CLOSE_UP_PX as SIDE_PX
from samples.training.canvases import close_up
from samples.training.detection_batches import orient, to_lit_tensor

if TYPE_CHECKING:
    from torch import Tensor

    from samples.training.dataset import Dataset

MIN_SIDE_PX = 26.0  # on the canvas; the state of smaller plants is not visible


def classification_batch(rng: np.random.Generator, dataset: Dataset, count: int) -> tuple[Tensor, Tensor]:
    """Return images (B, 3, 96, 96) in [0, 1] and their states (B,), all states equally often."""
    images = np.empty((count, SIDE_PX, SIDE_PX, 3), np.uint8)
    states = np.empty(count, np.int64)
    done = 0
    while done < count:
        index = int(rng.integers(len(dataset.canvases)))
        boxes, known = dataset.boxes[index], dataset.state_ids[index]
        wanted = int(rng.integers(3))
        fit = np.flatnonzero(
            (known == wanted) & ((boxes[:, 2:] - boxes[:, :2]).min(1, initial=1e9) >= MIN_SIDE_PX)
        )
        if not len(fit):
            continue
        box = boxes[fit[int(rng.integers(len(fit)))]]
        picture = close_up(dataset.canvases[index], box, margin=rng.uniform(0.0, 0.5))
        images[done], states[done] = orient(picture, int(rng.integers(8))), wanted
        done += 1
    return to_lit_tensor(rng, images), torch.from_numpy(states)
