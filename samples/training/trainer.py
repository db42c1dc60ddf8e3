"""Train with AdamW, a warm-up and cosine learning rate, and an exponential moving average of the weights."""

from __future__ import annotations

import copy
import math
import time
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MEAN_DECAY = 0.996  # of the moving average of the weights, which is what is saved
WARM_UP_SHARE = 0.06  # share of the steps
REPORT_INTERVAL_STEPS = 50


def train(
    model: nn.Module,
    loss_of: Callable[[nn.Module], Tensor],
    *,
    steps: int,
    rate: float,
    settle: float,
    keep: Path,
) -> nn.Module:
    """Train for `steps` steps, and return the averaged model; `loss_of` draws a batch for each step.

    After the share `settle` of the steps the statistics of the batch normalisations are measured again and frozen.
    Crops differ so much in their number of plants that the network otherwise learns to infer sizes from the
    statistics of its batch, which are not available in use. The weights are written to `keep` regularly, so that
    they can be evaluated during the training.
    """
    model.train().to(memory_format=torch.channels_last)
    mean = copy.deepcopy(model).eval().requires_grad_(requires_grad=False)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": 1e-2}, {"params": plain, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=rate)
    started, sum_of_losses = time.monotonic(), 0.0
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = rate * relative_rate(step / steps)
        if step == int(settle * steps):
            freeze_batch_norms(model, loss_of)
        loss = loss_of(model)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimiser.step()
        update_mean(mean, model, min(MEAN_DECAY, (1 + step) / (10 + step)))
        sum_of_losses += loss.item()
        if (step + 1) % REPORT_INTERVAL_STEPS == 0:
            spent = time.monotonic() - started
            print(
                f"step {step + 1}/{steps}  loss {sum_of_losses / REPORT_INTERVAL_STEPS:.4f}  {spent:.0f} s",
                flush=True,
            )
            sum_of_losses = 0.0
        if (step + 1) % (REPORT_INTERVAL_STEPS * 5) == 0 or step + 1 == steps:
            torch.save(mean.state_dict(), keep)
    return mean


def relative_rate(share: float) -> float:
    """Return the learning rate as a share of its peak: a linear warm-up, then half a cosine."""
    if share < WARM_UP_SHARE:
        return max(share / WARM_UP_SHARE, 0.02)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (share - WARM_UP_SHARE) / (1 - WARM_UP_SHARE)))


@torch.no_grad()
def freeze_batch_norms(model: nn.Module, loss_of: Callable[[nn.Module], Tensor], batches: int = 24) -> None:
    """Measure the statistics of all batch normalisations over some batches, and freeze them."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative mean
        norm.train()
    for _ in range(batches):
        loss_of(model)
    for norm in norms:
        norm.eval()


@torch.no_grad()
def update_mean(mean: nn.Module, model: nn.Module, decay: float) -> None:
    """Update the moving average of the weights and of the layers' statistics."""
    for kept, new in zip(mean.state_dict().values(), model.state_dict().values(), strict=True):
        if kept.dtype.is_floating_point:
            kept.lerp_(new, 1.0 - decay)
        else:
            kept.copy_(new)
