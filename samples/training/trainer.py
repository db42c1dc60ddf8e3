"""The training loop: steps of AdamW under one rise and fall of the rate, and a running mean."""

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

MEMORY = 0.996  # of the running mean of the weights, which is what is kept
WARM_UP = 0.06  # share of the steps
SAY_EVERY = 50


def train(
    model: nn.Module,
    loss_of: Callable[[nn.Module], Tensor],
    *,
    steps: int,
    rate: float,
    settle: float,
    keep: Path,
) -> nn.Module:
    """Train for so many steps, `loss_of` drawing a batch each time; the mean model is returned.

    After the share `settle` of the steps the statistics of the normalisations are measured once
    more and then held. Crops differ so much in how full they are that a network learns to read
    sizes off the statistics of its batch, which it will not have in use.
    Its weights are written to `keep` now and then, so that they can be measured while it runs.
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
            group["lr"] = rate * rate_at(step / steps)
        if step == int(settle * steps):
            hold(model, loss_of)
        loss = loss_of(model)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimiser.step()
        follow(mean, model, min(MEMORY, (1 + step) / (10 + step)))
        sum_of_losses += loss.item()
        if (step + 1) % SAY_EVERY == 0:
            spent = time.monotonic() - started
            print(f"step {step + 1}/{steps}  loss {sum_of_losses / SAY_EVERY:.4f}  {spent:.0f} s", flush=True)
            sum_of_losses = 0.0
        if (step + 1) % (SAY_EVERY * 5) == 0 or step + 1 == steps:
            torch.save(mean.state_dict(), keep)
    return mean


def rate_at(share: float) -> float:
    """The learning rate as a share of its peak: a short rise, then half a cosine."""
    if share < WARM_UP:
        return max(share / WARM_UP, 0.02)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (share - WARM_UP) / (1 - WARM_UP)))


@torch.no_grad()
def hold(model: nn.Module, loss_of: Callable[[nn.Module], Tensor], batches: int = 24) -> None:
    """Measure the statistics of all normalisations over some batches and keep them from now on."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean
        norm.train()
    for _ in range(batches):
        loss_of(model)
    for norm in norms:
        norm.eval()


@torch.no_grad()
def follow(mean: nn.Module, model: nn.Module, memory: float) -> None:
    """Move the running mean a little towards the model, statistics of the layers included."""
    for kept, new in zip(mean.state_dict().values(), model.state_dict().values(), strict=True):
        if kept.dtype.is_floating_point:
            kept.lerp_(new, 1.0 - memory)
        else:
            kept.copy_(new)
