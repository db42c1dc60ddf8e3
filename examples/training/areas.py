"""Beds and trays for the segmenter: whole canvases with masks, and the loss of a mask."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from examples.training.batches import lit, turned
from examples.training.canvases import AREAS_PX
from examples.training.losses import AREAS, Targets, detection_loss
from examples.training.masks import MASK_STRIDE, SMALLEST_PX, drawn

if TYPE_CHECKING:
    from examples.scenes.scene import Floats, Pixels
    from examples.training.dataset import Dataset
    from examples.training.network import Raw


def batch(rng: np.random.Generator, dataset: Dataset, count: int) -> tuple[Tensor, Targets, Tensor]:
    """(B, 3, 320, 320) in [0, 1], the areas in it, and (G, 80, 80) the share each has of a pixel."""
    images = np.empty((count, AREAS_PX, AREAS_PX, 3), np.uint8)
    boxes, masks, which = [np.zeros((0, 4))], [], []
    for i in range(count):
        index, turn = int(rng.integers(len(dataset.canvases))), int(rng.integers(8))
        images[i] = turned(halved(dataset.canvases[index], poor=rng.uniform() < 0.5), turn)
        for polygon in dataset.polygons[index]:
            points = turned_points(polygon / 2, turn, AREAS_PX)
            low, high = points.min(0), points.max(0)
            if (high - low).min() >= SMALLEST_PX:
                boxes.append(np.array([[*((low + high) / 2), *(high - low)]]))
                masks.append(drawn(points, AREAS_PX))
                which.append(i)
    side = AREAS_PX // MASK_STRIDE
    shares = np.stack(masks) if masks else np.zeros((0, side, side), np.uint8)
    return (
        lit(rng, images),
        Targets(
            torch.tensor(which, dtype=torch.long),
            torch.from_numpy(np.concatenate(boxes).astype(np.float32)),
            torch.zeros(len(which), dtype=torch.long),
        ),
        torch.from_numpy(shares).float().div_(255.0),
    )


def halved(canvas: Pixels, *, poor: bool) -> Pixels:
    """The canvas at half its size, every other pixel or the mean of four: photographs give both."""
    if poor:
        return canvas[::2, ::2]
    return np.asarray(Image.fromarray(canvas).reduce(2))


def segmentation_loss(raw: Raw, targets: Targets, masks: Tensor) -> Tensor:
    """The detector's loss, and for each area the error of its mask inside its box."""
    loss, owned = detection_loss(raw, targets, masks.shape[-1] * MASK_STRIDE, AREAS)
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
