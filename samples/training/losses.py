"""Define the losses of the detector.

Every object is assigned to the level for its size, and there to the cells around its centre. All of those cells
learn its box. Only the cell with the best prediction is positive, so that it alone learns a high score. One object
then gets one confident detection, and counting does not depend on suppression.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from samples.training.network import STRIDES, Raw


class AssignmentRule(NamedTuple):
    """How objects are assigned to levels and cells, and how much the error of the box weighs."""

    by_longest_side: bool  # choose the level by the longest side, else by the shortest
    ends_px: tuple[float, float]  # upper bounds of the first and the second level
    one_cell_per_object: bool
    box_weight: float


PLANT_RULE = AssignmentRule(by_longest_side=True, ends_px=(30.0, 72.0), one_cell_per_object=True, box_weight=2.0)
# The centre of a bed is uncertain by more than a cell. So several cells around it are positive, and suppression
# keeps one.
SEGMENT_RULE = AssignmentRule(
    by_longest_side=False, ends_px=(0.0, 40.0), one_cell_per_object=False, box_weight=5.0
)


class Targets(NamedTuple):
    """The objects of all images of a batch."""

    image: Tensor  # (G,) which image of the batch
    boxes: Tensor  # (G, 4) xywh, canvas px
    class_ids: Tensor  # (G,)


class Assignment(NamedTuple):
    """The cells that learn an object."""

    image: Tensor  # (M,)
    cell: Tensor  # (M,)
    target: Tensor  # (M,) indices of targets
    centre_weight: Tensor  # (M,) 1 at the centre of the object, less beside it
    is_positive: Tensor  # (M,) bool: one cell for each object, or those close to its centre


def detection_loss(
    raw: Raw, targets: Targets, size_px: int, rule: AssignmentRule = PLANT_RULE
) -> tuple[Tensor, Assignment]:
    """Return the loss of a batch, a scalar, and the assignment of cells."""
    assignment = assign_cells(raw, targets, size_px, rule)
    goal = torch.zeros_like(raw.logits)
    positive = assignment.is_positive
    wanted = targets.class_ids[assignment.target[positive]]
    goal[assignment.image[positive], wanted, assignment.cell[positive]] = (
        1.0 if rule.one_cell_per_object else assignment.centre_weight[positive]
    )
    total = max(1.0, float(len(targets.boxes)))
    scores = F.binary_cross_entropy_with_logits(raw.logits, goal, reduction="sum") / total
    if not len(assignment.cell):
        return scores, assignment
    predicted = raw.boxes[assignment.image, :, assignment.cell]
    true = targets.boxes[assignment.target]
    normalised_weight = assignment.centre_weight / assignment.centre_weight.sum()
    return scores + rule.box_weight * (box_errors(predicted, true) * normalised_weight).sum(), assignment


def assign_cells(raw: Raw, targets: Targets, size_px: int, rule: AssignmentRule) -> Assignment:
    """Assign each object the cells around its centre; a cell between two objects goes to the nearer one."""
    image, cell, target, distance = _surrounding_cells(targets, size_px, rule)
    cells = raw.boxes.shape[2]
    key = image * cells + cell
    order = torch.argsort(distance)
    nearest = torch.full((raw.boxes.shape[0] * cells,), -1, dtype=torch.long)
    nearest[key[order.flip(0)]] = order.flip(0)  # the last write, the nearest, stays
    kept = nearest[key] == torch.arange(len(key))
    image, cell, target, distance = (part[kept] for part in (image, cell, target, distance))
    centre_weight = torch.exp(-distance)
    if not rule.one_cell_per_object:
        return Assignment(image, cell, target, centre_weight, distance < 1.2)
    with torch.no_grad():
        predicted = raw.boxes[image, :, cell]
        overlap = 1.0 - _iou_parts(predicted, targets.boxes[target])[0]
        score = raw.logits[image, targets.class_ids[target], cell].sigmoid()
        quality = (1.1 - overlap) * (score + 0.02) * centre_weight
        quality = torch.where(distance < 1.2, quality, -1.0)
        best = torch.full((len(targets.boxes),), -1.0).scatter_reduce(0, target, quality, "amax")
        is_positive = (quality == best[target]) & (quality > 0)
    return Assignment(image, cell, target, centre_weight, is_positive)


def box_errors(predicted: Tensor, true: Tensor) -> Tensor:
    """Return the errors (M,) of boxes (M, 4) xywh: IoU, distance of the centres, ratio of the sides."""
    missing, centre = _iou_parts(predicted, true)
    sides = (predicted[:, 2:].clamp(min=0.1) / true[:, 2:].clamp(min=0.1)).log().abs().sum(1)
    return missing + centre + 0.25 * sides


def _iou_parts(predicted: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
    """Return 1 - IoU and the normalised squared distance of the centres, each (M,), as in DIoU loss."""
    low_a, high_a = predicted[:, :2] - predicted[:, 2:] / 2, predicted[:, :2] + predicted[:, 2:] / 2
    low_b, high_b = true[:, :2] - true[:, 2:] / 2, true[:, :2] + true[:, 2:] / 2
    common = (torch.minimum(high_a, high_b) - torch.maximum(low_a, low_b)).clamp(min=0).prod(1)
    union = predicted[:, 2:].prod(1) + true[:, 2:].prod(1) - common
    outer = (torch.maximum(high_a, high_b) - torch.minimum(low_a, low_b)).square().sum(1)
    away = (predicted[:, :2] - true[:, :2]).square().sum(1)
    return 1.0 - common / union.clamp(min=1e-6), away / outer.clamp(min=1e-6)


def _surrounding_cells(
    targets: Targets, size_px: int, rule: AssignmentRule
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the 3 x 3 cells around each object: image, cell, target, squared distance in strides."""
    sides_px = targets.boxes[:, 2:]
    level = torch.bucketize(
        sides_px.amax(1) if rule.by_longest_side else sides_px.amin(1), torch.tensor(rule.ends_px)
    )
    stride = torch.tensor(STRIDES)[level]
    sides = torch.tensor([size_px // s for s in STRIDES])
    starts = F.pad((sides * sides).cumsum(0), (1, 0))[:-1]
    offsets = torch.cartesian_prod(torch.arange(-1, 2), torch.arange(-1, 2))  # (9, 2) row, column
    spot = targets.boxes[:, :2] / stride[:, None]  # (G, 2) x, y in cells
    centre_cell = spot.floor().long()
    column = centre_cell[:, :1] + offsets[None, :, 1]
    row = centre_cell[:, 1:] + offsets[None, :, 0]
    side = sides[level][:, None]
    inside = (column >= 0) & (row >= 0) & (column < side) & (row < side)
    distance = (column + 0.5 - spot[:, :1]) ** 2 + (row + 0.5 - spot[:, 1:]) ** 2
    inside &= distance < 1.6
    cell = starts[level][:, None] + row * side + column
    target = torch.arange(len(level))[:, None].expand(-1, 9)
    image = targets.image[:, None].expand(-1, 9)
    return image[inside], cell[inside], target[inside], distance[inside]
