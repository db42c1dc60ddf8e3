"""Define the network: a small convolutional feature pyramid with heads for boxes, masks or classes.

It is anchor-free, has three levels with strides 8, 16 and 32, and makes one prediction for each cell. It has about
0.37 million parameters and 2 GFLOP at 640 px.
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
PRIOR_LOGIT = -4.0  # initial scores are low


class Raw(NamedTuple):
    """The outputs for a batch; N cells, level by level, row by row."""

    boxes: Tensor  # (B, 4, N) xywh, canvas px
    logits: Tensor  # (B, nc, N)
    terms: Tensor | None  # (B, 32, N) mask coefficients
    prototypes: Tensor | None  # (B, 32, H / 4, W / 4)


def conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, reach: int = 1) -> nn.Sequential:
    """Return convolution, batch normalisation and ReLU; `reach` is the dilation of the kernel."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, reach * (kernel // 2), reach, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class Residual(nn.Module):
    """A residual bottleneck with half the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(channels, channels // 2, 1), conv(channels // 2, channels))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Trunk(nn.Module):
    """The backbone: (B, 3, H, W) to features at strides 4, 8, 16 and 32."""

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
    """A feature pyramid network: adds coarse features to the finer levels."""

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
    """Dilated convolutions with a receptive field as large as a bed that spans the image."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = nn.ModuleList(conv(NECK, NECK, 3, 1, reach) for reach in (2, 4, 6))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.looks:
            x = x + layer(x)
        return x


class Detector(nn.Module):
    """Predicts boxes and class scores for every cell, with `masks` also coefficients and prototypes."""

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
                nn.init.normal_(last.weight, std=0.02)  # initial mask logits are near zero

    def forward(self, x: Tensor) -> Raw:
        at4, *deeper = self.trunk(x)
        levels = self.pyramid(*deeper)
        boxes, logits, terms = [], [], []
        for stride, level in zip(STRIDES, levels, strict=True):
            box_features = self.box_look(level)
            boxes.append(decode_boxes(self.box(box_features), stride).flatten(2))
            logits.append(self.score(self.class_look(level)).flatten(2))
            if self.term is not None:
                terms.append(self.term(box_features).flatten(2))
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
    """Classifies images (B, 3, H, W) with the same backbone; returns logits (B, nc)."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.trunk = Trunk()
        self.judge = nn.Linear(WIDTHS[3] + WIDTHS[4], classes)

    def forward(self, x: Tensor) -> Tensor:
        _, _, at16, at32 = self.trunk(x)
        return self.judge(torch.cat([at16.mean((2, 3)), at32.mean((2, 3))], 1))


def decode_boxes(raw: Tensor, stride: int) -> Tensor:
    """Decode offsets from the cell's centre and log sizes (B, 4, h, w) to xywh in canvas px."""
    ones = torch.ones_like(raw[:, :1])
    middle = torch.cat([ones.cumsum(3), ones.cumsum(2)], 1) - 0.5
    centre = (middle + raw[:, :2]) * stride
    size = torch.exp(raw[:, 2:].clamp(max=4.0)) * (2.0 * stride)
    return torch.cat([centre, size], 1)
