"""Make batches of beds and trays for the segmenter, and define its loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from samples.scenes.scene_builder import clip_polygon
from samples.training.detection_batches import orient, to_lit_tensor
from samples.training.losses import SEGMENT_RULE, Targets, detection_loss
from samples.training.segment_masks import MASK_STRIDE, MIN_SIDE_PX, polygon_coverage

if TYPE_CHECKING:
    from samples.scenes.scene import Floats, Pixels
    from samples.training.dataset import Dataset
    from samples.training.network import Raw


def segment_batch(
    rng: np.random.Generator, dataset: Dataset, count: int, side_px: int
) -> tuple[Tensor, Targets, Tensor]:
    """Return images (B, 3, side, side) in [0, 1], their targets, and coverage masks (G, side / 4, side / 4)."""
    whole_px = dataset.canvases.shape[1]
    images = np.empty((count, side_px, side_px, 3), np.uint8)
    boxes, masks, image_index = [np.zeros((0, 4))], [], []
    for i in range(count):
        index, orientation = int(rng.integers(len(dataset.canvases))), int(rng.integers(8))
        cut_px = whole_px if rng.uniform() < 0.4 else int(rng.integers(whole_px * 2 // 5, whole_px))
        corner = rng.integers(0, whole_px - cut_px + 1, 2)  # x, y
        images[i] = orient(random_crop(rng, dataset.canvases[index], corner, cut_px, side_px), orientation)
        for polygon in dataset.polygons[index]:
            inside = clip_polygon((polygon - corner) * (side_px / cut_px), (side_px, side_px))
            if len(inside) < 3:
                continue
            points = orient_points(inside, orientation, side_px)
            low, high = points.min(0), points.max(0)
            if (high - low).min() >= MIN_SIDE_PX:
                boxes.append(np.array([[*((low + high) / 2), *(high - low)]]))
                masks.append(polygon_coverage(points, side_px))
                image_index.append(i)
    side = side_px // MASK_STRIDE
    shares = np.stack(masks) if masks else np.zeros((0, side, side), np.uint8)
    return (
        to_lit_tensor(rng, images),
        Targets(
            torch.tensor(image_index, dtype=torch.long),
            torch.from_numpy(np.concatenate(boxes).astype(np.float32)),
            torch.zeros(len(image_index), dtype=torch.long),
        ),
        torch.from_numpy(shares).float().div_(255.0),
    )


def random_crop(rng: np.random.Generator, canvas: Pixels, corner: np.ndarray, cut_px: int, side_px: int) -> Pixels:
    """Scale a square of the canvas to (side, side, 3), randomly with nearest or bilinear resampling."""
    if rng.uniform() < 0.5:
        at = ((np.arange(side_px) + 0.5) * (cut_px / side_px)).astype(int)
        crop: Pixels = canvas[corner[1] + at][:, corner[0] + at]
        return crop
    x, y = (int(value) for value in corner)
    square = Image.fromarray(canvas[y : y + cut_px, x : x + cut_px])
    return np.asarray(square.resize((side_px, side_px), Image.Resampling.BILINEAR))


def segmentation_loss(raw: Raw, targets: Targets, masks: Tensor) -> Tensor:
    """Return the detector's loss plus the error of each segment's mask inside its box."""
    loss, assignment = detection_loss(raw, targets, masks.shape[-1] * MASK_STRIDE, SEGMENT_RULE)
    if raw.terms is None or raw.prototypes is None or not assignment.is_positive.any():
        return loss
    image, cell, target = (
        part[assignment.is_positive] for part in (assignment.image, assignment.cell, assignment.target)
    )
    errors = []
    for i in image.unique().tolist():
        mine = image == i
        logits = raw.terms[i, :, cell[mine]].T @ raw.prototypes[i].flatten(1)  # (m, 160 * 160)
        true = masks[target[mine]].flatten(1)
        inside = box_masks(targets.boxes[target[mine]] / MASK_STRIDE, masks.shape[-1]).flatten(1)
        pixels = F.binary_cross_entropy_with_logits(logits, true, reduction="none")
        mean = (pixels * inside).sum(1) / inside.sum(1).clamp(min=1.0)
        predicted = logits.sigmoid() * inside
        true = true * inside
        dice = 1.0 - (2.0 * (predicted * true).sum(1) + 1.0) / (predicted.sum(1) + true.sum(1) + 1.0)
        errors.append(mean + dice)
    return loss + 2.0 * torch.cat(errors).mean()


def box_masks(boxes: Tensor, side: int) -> Tensor:
    """Return masks (m, side, side) that are 1 inside xywh boxes and slightly around them."""
    at = torch.arange(side) + 0.5
    reach = boxes[:, 2:] / 2 + 2.0
    across = (at[None] - boxes[:, :1]).abs() < reach[:, :1]
    down = (at[None] - boxes[:, 1:2]).abs() < reach[:, 1:]
    return (down[:, :, None] & across[:, None, :]).float()


def orient_points(points: Floats, orientation: int, side_px: int) -> Floats:
    """Transform points (k, 2) as `orient` transforms an image."""
    x, y = points.T
    if orientation & 1:
        x = side_px - x
    if orientation & 2:
        y = side_px - y
    return np.stack((y, x) if orientation & 4 else (x, y), 1)
