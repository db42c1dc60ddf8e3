"""Beds and trays for the segmenter: whole canvases with masks, and the loss of a mask."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from samples.scenes.canvas import clipped
from samples.training.batches import lit, turned
from samples.training.losses import AREAS, Targets, detection_loss
from samples.training.masks import MASK_STRIDE, SMALLEST_PX, drawn

if TYPE_CHECKING:
    from samples.scenes.scene import Floats, Pixels
    from samples.training.dataset import Dataset
    from samples.training.network import Raw


def batch(rng: np.random.Generator, dataset: Dataset, count: int, side_px: int) -> tuple[Tensor, Targets, Tensor]:
    """(B, 3, side, side) in [0, 1], the areas in it, and (G, side / 4, side / 4) the share each has of a pixel."""
    whole_px = dataset.canvases.shape[1]
    images = np.empty((count, side_px, side_px, 3), np.uint8)
    boxes, masks, which = [np.zeros((0, 4))], [], []
    for i in range(count):
        index, turn = int(rng.integers(len(dataset.canvases))), int(rng.integers(8))
        cut_px = whole_px if rng.uniform() < 0.4 else int(rng.integers(whole_px * 2 // 5, whole_px))
        corner = rng.integers(0, whole_px - cut_px + 1, 2)  # x, y
        images[i] = turned(part(rng, dataset.canvases[index], corner, cut_px, side_px), turn)
        for polygon in dataset.polygons[index]:
            inside = clipped((polygon - corner) * (side_px / cut_px), (side_px, side_px))
            if len(inside) < 3:
                continue
            points = turned_points(inside, turn, side_px)
            low, high = points.min(0), points.max(0)
            if (high - low).min() >= SMALLEST_PX:
                boxes.append(np.array([[*((low + high) / 2), *(high - low)]]))
                masks.append(drawn(points, side_px))
                which.append(i)
    side = side_px // MASK_STRIDE
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


def part(rng: np.random.Generator, canvas: Pixels, corner: np.ndarray, cut_px: int, side_px: int) -> Pixels:
    """(side, side, 3) a square of the canvas brought to size, smoothly or not: photographs give both."""
    if rng.uniform() < 0.5:
        at = ((np.arange(side_px) + 0.5) * (cut_px / side_px)).astype(int)
        return canvas[corner[1] + at][:, corner[0] + at]
    x, y = (int(value) for value in corner)
    square = Image.fromarray(canvas[y : y + cut_px, x : x + cut_px])
    return np.asarray(square.resize((side_px, side_px), Image.Resampling.BILINEAR))


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
