"""The network: a small convolutional pyramid with heads for boxes, masks or classes.

Anchor-free, three levels with strides 8, 16 and 32, one prediction a cell. It is ours from the
first line, and small on purpose: about 0.37 million parameters and 2 GFLOP at 640 px.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STRIDES = (8, 16, 32)
WIDTHS = (16, 24, 48, 80, 112)  # channels at strides 2, 4, 8, 16, 32
NECK = 48
HEAD = 32
MASK_TERMS = 32
PRIOR_LOGIT = -4.0  # at first nothing is believed to be anywhere


class Raw(NamedTuple):
    """What the network says of a batch; N cells, level by level, row by row."""

    boxes: Tensor  # (B, 4, N) xywh, canvas px
    logits: Tensor  # (B, nc, N)
    terms: Tensor | None  # (B, 32, N) mask coefficients
    prototypes: Tensor | None  # (B, 32, H / 4, W / 4)


def conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, reach: int = 1) -> nn.Sequential:
    """Convolution, normalisation, ReLU; `reach` is the distance between the kernel's taps."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, reach * (kernel // 2), reach, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class Residual(nn.Module):
    """Squeeze to half the channels, look around, add."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(channels, channels // 2, 1), conv(channels // 2, channels))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Trunk(nn.Module):
    """(B, 3, H, W) to features at strides 4, 8, 16 and 32."""

    def __init__(self) -> None:
        super().__init__()
        a, b, c, d, e = WIDTHS
        self.to4 = nn.Sequential(conv(3, a, 3, 2), conv(a, b, 3, 2), Residual(b))
        self.to8 = nn.Sequential(conv(b, c, 3, 2), Residual(c), Residual(c))
        self.to16 = nn.Sequential(conv(c, d, 3, 2), Residual(d), Residual(d))
        self.to32 = nn.Sequential(conv(d, e, 3, 2), Residual(e))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        at4 = self.to4(x)
        at8 = self.to8(at4)
        at16 = self.to16(at8)
        return at4, at8, at16, self.to32(at16)


class Pyramid(nn.Module):
    """Hands what the coarse levels know down to the fine ones."""

    def __init__(self, *, overview: bool) -> None:
        super().__init__()
        self.overview = Overview() if overview else nn.Identity()
        self.side8, self.side16, self.side32 = (conv(width, NECK, 1) for width in WIDTHS[2:])
        self.mix8, self.mix16 = Residual(NECK), Residual(NECK)

    def forward(self, at8: Tensor, at16: Tensor, at32: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        p32 = self.overview(self.side32(at32))
        p16 = self.mix16(self.side16(at16) + F.interpolate(p32, scale_factor=2.0))
        p8 = self.mix8(self.side8(at8) + F.interpolate(p16, scale_factor=2.0))
        return p8, p16, p32


class Overview(nn.Module):
    """Looks far around each coarse cell, to see where a bed as long as the image ends."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = nn.ModuleList(conv(NECK, NECK, 3, 1, reach) for reach in (2, 4, 6))

    def forward(self, x: Tensor) -> Tensor:
        for look in self.looks:
            x = x + look(x)
        return x


class Detector(nn.Module):
    """Boxes and class scores for every cell; with `masks` also coefficients and prototypes."""

    def __init__(self, classes: int, *, masks: bool = False) -> None:
        super().__init__()
        self.classes = classes
        self.trunk, self.pyramid = Trunk(), Pyramid(overview=masks)
        self.box_look, self.class_look = conv(NECK, HEAD), conv(NECK, HEAD)
        self.box, self.score = nn.Conv2d(HEAD, 4, 1), nn.Conv2d(HEAD, classes, 1)
        nn.init.constant_(self.score.bias, PRIOR_LOGIT)
        self.term = nn.Conv2d(HEAD, MASK_TERMS, 1) if masks else None
        self.fine = conv(WIDTHS[1], NECK, 1) if masks else None
        self.paint = nn.Sequential(conv(NECK, NECK), nn.Conv2d(NECK, MASK_TERMS, 1)) if masks else None
        if self.term is not None and self.paint is not None:
            for last in (self.term, self.paint[1]):
                nn.init.normal_(last.weight, std=0.02)  # masks begin undecided

    def forward(self, x: Tensor) -> Raw:
        at4, *deeper = self.trunk(x)
        levels = self.pyramid(*deeper)
        boxes, logits, terms = [], [], []
        for stride, level in zip(STRIDES, levels, strict=True):
            look = self.box_look(level)
            boxes.append(placed(self.box(look), stride).flatten(2))
            logits.append(self.score(self.class_look(level)).flatten(2))
            if self.term is not None:
                terms.append(self.term(look).flatten(2))
        prototypes = None
        if self.paint is not None and self.fine is not None:
            prototypes = self.paint(self.fine(at4) + F.interpolate(levels[0], scale_factor=2.0))
        return Raw(
            torch.cat(boxes, 2),
            torch.cat(logits, 2),
            torch.cat(terms, 2) if terms else None,
            prototypes,
        )


class Classifier(nn.Module):
    """(B, 3, H, W) to (B, nc) logits, from the same trunk."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.trunk = Trunk()
        self.judge = nn.Linear(WIDTHS[3] + WIDTHS[4], classes)

    def forward(self, x: Tensor) -> Tensor:
        _, _, at16, at32 = self.trunk(x)
        return self.judge(torch.cat([at16.mean((2, 3)), at32.mean((2, 3))], 1))


def placed(raw: Tensor, stride: int) -> Tensor:
    """(B, 4, h, w) offsets from the cell's middle and log sizes, to xywh in canvas px."""
    ones = torch.ones_like(raw[:, :1])
    middle = torch.cat([ones.cumsum(3), ones.cumsum(2)], 1) - 0.5
    centre = (middle + raw[:, :2]) * stride
    size = torch.exp(raw[:, 2:].clamp(max=4.0)) * (2.0 * stride)
    return torch.cat([centre, size], 1)
