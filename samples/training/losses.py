"""What the detector is told it did wrong.

Every object belongs to the level that fits its size, and there to the cells around its middle.
All of those learn its box; only one of them, the one that already does best, learns to speak up.
So one object gets one confident answer, and counting needs no luck with the suppression of
duplicates.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from samples.training.network import STRIDES, Raw


class Rule(NamedTuple):
    """Which level an object belongs to, whether one of its cells speaks up or several, and what counts."""

    longest: bool  # measured by its longest side, else by its shortest
    ends_px: tuple[float, float]  # up to which it belongs to the first and to the second level
    alone: bool
    box_weight: float


PLANTS = Rule(longest=True, ends_px=(30.0, 72.0), alone=True, box_weight=2.0)
# Where the middle of a bed lies cannot be seen to within a cell, and its box is large: let the
# cells around it speak, and the suppression of duplicates choose.
AREAS = Rule(longest=False, ends_px=(0.0, 40.0), alone=False, box_weight=5.0)


class Targets(NamedTuple):
    """The objects of a batch, one after the other."""

    image: Tensor  # (G,) which image of the batch
    boxes: Tensor  # (G, 4) xywh, canvas px
    class_ids: Tensor  # (G,)


class Owned(NamedTuple):
    """Which cell learns which object."""

    image: Tensor  # (M,)
    cell: Tensor  # (M,)
    target: Tensor  # (M,) positions in the targets
    near: Tensor  # (M,) 1 in the middle of the object, less beside it
    speaks: Tensor  # (M,) bool, one cell an object, or those close to its middle


def detection_loss(raw: Raw, targets: Targets, size_px: int, rule: Rule = PLANTS) -> tuple[Tensor, Owned]:
    """The loss of a batch, a scalar, and the cells that learnt."""
    owned = assigned(raw, targets, size_px, rule)
    goal = torch.zeros_like(raw.logits)
    voice = owned.speaks
    wanted = targets.class_ids[owned.target[voice]]
    goal[owned.image[voice], wanted, owned.cell[voice]] = 1.0 if rule.alone else owned.near[voice]
    total = max(1.0, float(len(targets.boxes)))
    scores = F.binary_cross_entropy_with_logits(raw.logits, goal, reduction="sum") / total
    if not len(owned.cell):
        return scores, owned
    found = raw.boxes[owned.image, :, owned.cell]
    true = targets.boxes[owned.target]
    weight = owned.near / owned.near.sum()
    return scores + rule.box_weight * (box_errors(found, true) * weight).sum(), owned


def assigned(raw: Raw, targets: Targets, size_px: int, rule: Rule) -> Owned:
    """Give each object the cells around its middle; a cell between two goes to the nearer."""
    image, cell, which, distance = _around(targets, size_px, rule)
    cells = raw.boxes.shape[2]
    key = image * cells + cell
    order = torch.argsort(distance)
    nearest = torch.full((raw.boxes.shape[0] * cells,), -1, dtype=torch.long)
    nearest[key[order.flip(0)]] = order.flip(0)  # the last write, the nearest, stays
    kept = nearest[key] == torch.arange(len(key))
    image, cell, which, distance = (part[kept] for part in (image, cell, which, distance))
    near = torch.exp(-distance)
    if not rule.alone:
        return Owned(image, cell, which, near, distance < 1.2)
    with torch.no_grad():
        found = raw.boxes[image, :, cell]
        overlap = 1.0 - _iou_parts(found, targets.boxes[which])[0]
        score = raw.logits[image, targets.class_ids[which], cell].sigmoid()
        quality = (1.1 - overlap) * (score + 0.02) * near
        quality = torch.where(distance < 1.2, quality, -1.0)
        best = torch.full((len(targets.boxes),), -1.0).scatter_reduce(0, which, quality, "amax")
        speaks = (quality == best[which]) & (quality > 0)
    return Owned(image, cell, which, near, speaks)


def box_errors(found: Tensor, true: Tensor) -> Tensor:
    """(M,) errors of (M, 4) xywh boxes: overlap, distance of the middles, logs of the sides."""
    missing, centre = _iou_parts(found, true)
    sides = (found[:, 2:].clamp(min=0.1) / true[:, 2:].clamp(min=0.1)).log().abs().sum(1)
    return missing + centre + 0.25 * sides


def _iou_parts(found: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
    """(M,) 1 - IoU and (M,) squared distance of the middles over the squared outer diagonal."""
    low_a, high_a = found[:, :2] - found[:, 2:] / 2, found[:, :2] + found[:, 2:] / 2
    low_b, high_b = true[:, :2] - true[:, 2:] / 2, true[:, :2] + true[:, 2:] / 2
    common = (torch.minimum(high_a, high_b) - torch.maximum(low_a, low_b)).clamp(min=0).prod(1)
    union = found[:, 2:].prod(1) + true[:, 2:].prod(1) - common
    outer = (torch.maximum(high_a, high_b) - torch.minimum(low_a, low_b)).square().sum(1)
    away = (found[:, :2] - true[:, :2]).square().sum(1)
    return 1.0 - common / union.clamp(min=1e-6), away / outer.clamp(min=1e-6)


def _around(targets: Targets, size_px: int, rule: Rule) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The 3 x 3 cells around each object: image, cell, target, squared distance in strides."""
    sides_px = targets.boxes[:, 2:]
    level = torch.bucketize(sides_px.amax(1) if rule.longest else sides_px.amin(1), torch.tensor(rule.ends_px))
    stride = torch.tensor(STRIDES)[level]
    sides = torch.tensor([size_px // s for s in STRIDES])
    starts = F.pad((sides * sides).cumsum(0), (1, 0))[:-1]
    offsets = torch.cartesian_prod(torch.arange(-1, 2), torch.arange(-1, 2))  # (9, 2) row, column
    spot = targets.boxes[:, :2] / stride[:, None]  # (G, 2) x, y in cells
    home = spot.floor().long()
    column = home[:, :1] + offsets[None, :, 1]
    row = home[:, 1:] + offsets[None, :, 0]
    side = sides[level][:, None]
    inside = (column >= 0) & (row >= 0) & (column < side) & (row < side)
    distance = (column + 0.5 - spot[:, :1]) ** 2 + (row + 0.5 - spot[:, 1:]) ** 2
    inside &= distance < 1.6
    cell = starts[level][:, None] + row * side + column
    which = torch.arange(len(level))[:, None].expand(-1, 9)
    image = targets.image[:, None].expand(-1, 9)
    return image[inside], cell[inside], which[inside], distance[inside]
