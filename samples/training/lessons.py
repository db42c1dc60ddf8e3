"""What is taught for each task: the model, its batches and its loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

from samples.scenes import TENANTS
from samples.training.areas import batch as areas
from samples.training.areas import segmentation_loss
from samples.training.batches import batch as cut
from samples.training.canvases import AREAS_PX
from samples.training.dataset import load
from samples.training.losses import detection_loss
from samples.training.network import Classifier, Detector
from samples.training.states import batch as plants
from samples.training.trainer import train

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn


def learn(  # the options of the command line, one by one
    task: str,
    tenant_id: str,
    folder: Path,
    weights: Path,
    *,
    start: Path | None,
    steps: int,
    batch: int,
    crop_px: int,
    rate: float,
    settle: float,
    seed: int,
) -> None:
    """Train the tenant's model of that task and write its weights."""
    torch.manual_seed(seed)
    rng = np.random.Generator(np.random.PCG64(seed))
    dataset = load(folder)
    model = new(task, tenant_id)
    if start is not None:
        begin(model, start)

    def detect(network: nn.Module) -> Tensor:
        images, targets = cut(rng, dataset, batch, crop_px)
        return detection_loss(network(images), targets, crop_px)[0]

    def segment(network: nn.Module) -> Tensor:
        images, targets, masks = areas(rng, dataset, batch, AREAS_PX)
        return segmentation_loss(network(images), targets, masks)

    def classify(network: nn.Module) -> Tensor:
        images, states = plants(rng, dataset, batch)
        return F.cross_entropy(network(images), states)

    loss_of = {"detect": detect, "segment": segment, "classify": classify}[task]
    train(model, loss_of, steps=steps, rate=rate, settle=settle, keep=weights)


def new(task: str, tenant_id: str) -> nn.Module:
    """An untrained model of the tenant."""
    if task == "detect":
        return Detector(len(TENANTS[tenant_id].labels))
    if task == "segment":
        return Detector(len(TENANTS[tenant_id].segment_labels), masks=True)
    return Classifier(len(TENANTS[tenant_id].states))


def begin(model: nn.Module, weights: Path) -> None:
    """Take over from other weights whatever has the same name and shape."""
    own = model.state_dict()
    given = torch.load(weights, weights_only=True)
    own.update({name: value for name, value in given.items() if name in own and own[name].shape == value.shape})
    model.load_state_dict(own)
