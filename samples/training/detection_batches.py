"""Cut batches from the canvases of a training set, with random orientation and light."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from samples.scenes.scene_builder import MIN_VISIBLE_SHARE
from samples.training.losses import Targets

if TYPE_CHECKING:
    from samples.scenes.scene import Floats, Pixels
    from samples.training.dataset import Dataset

MIN_SIDE_PX = 3.0


def detection_batch(
    rng: np.random.Generator, dataset: Dataset, count: int, crop_px: int
) -> tuple[Tensor, Targets]:
    """Return images (B, 3, crop, crop) in [0, 1], and the objects visible in them."""
    images = np.empty((count, crop_px, crop_px, 3), np.uint8)
    boxes, class_ids, image_index = [], [], []
    for i in range(count):
        index = int(rng.integers(len(dataset.canvases)))
        x, y = (int(at) for at in rng.integers(0, dataset.canvases.shape[1] - crop_px + 1, 2))
        crop = dataset.canvases[index][y : y + crop_px, x : x + crop_px]
        seen, kept = visible(dataset.boxes[index], (x, y), crop_px)
        orientation = int(rng.integers(8))
        images[i] = orient(crop, orientation)
        boxes.append(orient_boxes(seen, orientation, crop_px))
        class_ids.append(dataset.class_ids[index][kept])
        image_index.append(np.full(len(seen), i))
    return to_lit_tensor(rng, images), Targets(
        torch.from_numpy(np.concatenate(image_index)).long(),
        torch.from_numpy(_xywh(np.concatenate(boxes))),
        torch.from_numpy(np.concatenate(class_ids)).long(),
    )


def visible(boxes: Floats, corner_xy: tuple[int, int], crop_px: int) -> tuple[Floats, np.ndarray]:
    """Clip the boxes to a crop, in its px, and return them with the mask of the visible ones."""
    whole = boxes - np.array([*corner_xy, *corner_xy], np.float32)
    cut = np.clip(whole, 0, crop_px)
    sides, seen = whole[:, 2:] - whole[:, :2], cut[:, 2:] - cut[:, :2]
    kept = (seen.prod(1) >= MIN_VISIBLE_SHARE * sides.prod(1)) & (seen.min(1, initial=1e9) >= MIN_SIDE_PX)
    return cut[kept].astype(np.float32), kept


def orient(image: Pixels, orientation: int) -> Pixels:
    """Return one of the eight orientations of a square image."""
    if orientation & 1:
        image = image[:, ::-1]
    if orientation & 2:
        image = image[::-1]
    return image.swapaxes(0, 1) if orientation & 4 else image


def orient_boxes(boxes: Floats, orientation: int, side_px: int) -> Floats:
    """Transform boxes (n, 4) xyxy as `orient` transforms an image."""
    x1, y1, x2, y2 = boxes.T
    if orientation & 1:
        x1, x2 = side_px - x2, side_px - x1
    if orientation & 2:
        y1, y2 = side_px - y2, side_px - y1
    order = (y1, x1, y2, x2) if orientation & 4 else (x1, y1, x2, y2)
    return np.stack(order, 1).astype(np.float32)


def to_lit_tensor(rng: np.random.Generator, images: Pixels) -> Tensor:
    """Convert images (B, h, w, 3) to (B, 3, h, w) in [0, 1], each with random brightness."""
    count = len(images)
    gain = rng.uniform(0.72, 1.28, (count, 1, 1, 1)) * rng.uniform(0.93, 1.07, (count, 3, 1, 1))
    lift = rng.uniform(-0.06, 0.06, (count, 1, 1, 1))
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float().div_(255.0)
    pixels = pixels * torch.from_numpy(gain).float() + torch.from_numpy(lift).float()
    return pixels.clamp_(0.0, 1.0).contiguous(memory_format=torch.channels_last)


def _xywh(boxes: Floats) -> Floats:
    half = (boxes[:, 2:] - boxes[:, :2]) / 2
    return np.concatenate([boxes[:, :2] + half, half * 2], 1).astype(np.float32)
