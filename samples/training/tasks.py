"""Train a model for one task: detection, segmentation or classification."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

from samples.scenes import TENANTS
from samples.training.canvases import SEGMENT_CANVAS_PX
from samples.training.classification_batches import classification_batch
from samples.training.dataset import load
from samples.training.detection_batches import detection_batch
from samples.training.losses import detection_loss
from samples.training.network import Classifier, Detector
from samples.training.segment_batches import segment_batch, segmentation_loss
from samples.training.trainer import train

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn


def train_task(
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
    model = new_model(task, tenant_id)
    if start is not None:
        load_matching_weights(model, start)

    def detect(network: nn.Module) -> Tensor:
        images, targets = detection_batch(rng, dataset, batch, crop_px)
        return detection_loss(network(images), targets, crop_px)[0]

    def segment(network: nn.Module) -> Tensor:
        images, targets, masks = segment_batch(rng, dataset, batch, SEGMENT_CANVAS_PX)
        return segmentation_loss(network(images), targets, masks)

    def classify(network: nn.Module) -> Tensor:
        images, states = classification_batch(rng, dataset, batch)
        return F.cross_entropy(network(images), states)

    loss_of = {"detect": detect, "segment": segment, "classify": classify}[task]
    train(model, loss_of, steps=steps, rate=rate, settle=settle, keep=weights)


def new_model(task: str, tenant_id: str) -> nn.Module:
    """Return an untrained model of the tenant."""
    if task == "detect":
        return Detector(len(TENANTS[tenant_id].labels))
    if task == "segment":
        return Detector(len(TENANTS[tenant_id].segment_labels), masks=True)
    return Classifier(len(TENANTS[tenant_id].states))


def load_matching_weights(model: nn.Module, weights: Path) -> None:
    """Load those of the weights that have the same name and shape."""
    own = model.state_dict()
    given = torch.load(weights, weights_only=True)
    own.update({name: value for name, value in given.items() if name in own and own[name].shape == value.shape})
    model.load_state_dict(own)
