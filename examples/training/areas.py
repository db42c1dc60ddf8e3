"""Beds and trays for the segmenter: whole canvases with masks, and the loss of a mask."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from examples.training.batches import lit, turned
from examples.training.losses import Targets, detection_loss
from examples.training.masks import MASK_STRIDE, drawn

if TYPE_CHECKING:
    from examples.scenes.scene import Floats
    from examples.training.dataset import Dataset
    from examples.training.network import Raw

SMALLEST_PX = 6.0


def batch(rng: np.random.Generator, dataset: Dataset, count: int) -> tuple[Tensor, Targets, Tensor]:
    """(B, 3, 640, 640) in [0, 1], the areas in it, and (G, 160, 160) the share each has of a pixel."""
    side = dataset.canvases.shape[1]
    images = np.empty((count, side, side, 3), np.uint8)
    boxes, masks, which = [np.zeros((0, 4))], [], []
    for i in range(count):
        index, turn = int(rng.integers(len(dataset.canvases))), int(rng.integers(8))
        images[i] = turned(dataset.canvases[index], turn)
        for polygon in dataset.polygons[index]:
            if (polygon.max(0) - polygon.min(0)).min() < SMALLEST_PX:
                continue
            points = turned_points(polygon, turn, side)
            low, high = points.min(0), points.max(0)
            boxes.append(np.array([[*((low + high) / 2), *(high - low)]]))
            masks.append(drawn(points, side))
            which.append(i)
    shares = np.stack(masks) if masks else np.zeros((0, side // MASK_STRIDE, side // MASK_STRIDE), np.uint8)
    return (
        lit(rng, images),
        Targets(
            torch.tensor(which, dtype=torch.long),
            torch.from_numpy(np.concatenate(boxes).astype(np.float32)),
            torch.zeros(len(which), dtype=torch.long),
        ),
        torch.from_numpy(shares).float().div_(255.0),
    )


def segmentation_loss(raw: Raw, targets: Targets, masks: Tensor) -> Tensor:
    """The detector's loss, and for each area the error of its mask inside its box."""
    loss, owned = detection_loss(raw, targets, masks.shape[-1] * MASK_STRIDE)
    if raw.terms is None or raw.prototypes is None or not owned.speaks.any():
        return loss
    image, cell, target = (part[owned.speaks] for part in (owned.image, owned.cell, owned.target))
    errors = []
    for i in image.unique().tolist():
        mine = image == i
        logits = raw.terms[i, :, cell[mine]].T @ raw.prototypes[i].flatten(1)  # (m, 160 * 160)
        true = masks[target[mine]].flatten(1)
        inside = within(targets.boxes[target[mine]] / MASK_STRIDE, masks.shape[-1]).flatten(1)
        pixels = F.binary_cross_entropy_with_logits(logits, true, reduction="none")
        mean = (pixels * inside).sum(1) / inside.sum(1).clamp(min=1.0)
        found = logits.sigmoid() * inside
        true = true * inside
        dice = 1.0 - (2.0 * (found * true).sum(1) + 1.0) / (found.sum(1) + true.sum(1) + 1.0)
        errors.append(mean + dice)
    return loss + 2.0 * torch.cat(errors).mean()


def within(boxes: Tensor, side: int) -> Tensor:
    """(m, side, side) 1 inside xywh boxes and a little around them."""
    at = torch.arange(side) + 0.5
    reach = boxes[:, 2:] / 2 + 2.0
    across = (at[None] - boxes[:, :1]).abs() < reach[:, :1]
    down = (at[None] - boxes[:, 1:2]).abs() < reach[:, 1:]
    return (down[:, :, None] & across[:, None, :]).float()


def turned_points(points: Floats, turn: int, side_px: int) -> Floats:
    """(k, 2) where `batches.turned` puts points."""
    x, y = points.T
    if turn & 1:
        x = side_px - x
    if turn & 2:
        y = side_px - y
    return np.stack((y, x) if turn & 4 else (x, y), 1)
