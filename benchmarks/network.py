"""Models of the sizes and costs of YOLO11n, its segmenter and its classifier, which find what they were made with.

Layer by layer the shape of those at 640 px (224 for the classifier), but for their attention, a hundredth of the
cost, which is left out: one run costs what a tenant's would. Weights are random. What comes out is the network's
answer made negligible, plus a fixed one (`planted`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from benchmarks import planted
from benchmarks.layers import Layers
from benchmarks.planted import ANCHORS, CANVAS, CELLS, MASKS
from shared.vision.arrays import Float32Array, SizeHW

LABELS: Final = ("plant", "weed", "tray", "gap")
OBJECTS: Final = 30
SMALL: Final = 224  # px, a classifier's side
_SQUARE: Final = (CANVAS, CANVAS)
_BINS: Final = 16  # a side's distance is the mean of a distribution over as many
_NEGLIGIBLE: Final = 1e-4


def detect_model(
    labels: Sequence[str] = LABELS, *, objects: int = OBJECTS, image_hw: SizeHW = _SQUARE
) -> tuple[bytes, float]:
    """An ONNX file that finds `objects` boxes in any image of that shape, and its cost in GFLOP."""
    network = Layers(CANVAS)
    scores, sides = _head(network, _neck(network, *_backbone(network)), len(labels))
    found = _boxes(network, sides, scores)
    _planted(network, found, planted.boxes(len(labels), objects, image_hw), name="output0")
    outputs = {"output0": (1, 4 + len(labels), ANCHORS)}
    return network.file(outputs, task="detect", labels=labels), network.flop / 1e9


def segment_model(
    labels: Sequence[str] = LABELS, *, objects: int = OBJECTS, image_hw: SizeHW = _SQUARE
) -> tuple[bytes, float]:
    """As `detect_model`, with a mask in each box."""
    network = Layers(CANVAS)
    features = _neck(network, *_backbone(network))
    scores, sides = _head(network, features, len(labels))
    weights = [
        network.flat(network.conv(network.conv(network.conv(x, MASKS, 3), MASKS, 3), MASKS, plain=True), MASKS)
        for x in features
    ]
    found = network.add("Concat", _boxes(network, sides, scores), network.add("Concat", *weights, axis=2), axis=1)
    answer = planted.boxes(len(labels), objects, image_hw), planted.coefficients(objects)
    _planted(network, found, np.concatenate(answer, axis=1), name="output0")
    planes = network.conv(network.spread(network.conv(features[0], 64, 3)), 64, 3)
    _planted(network, network.conv(planes, MASKS), planted.prototypes(objects, image_hw), name="output1")
    outputs = {"output0": (1, 4 + len(labels) + MASKS, ANCHORS), "output1": (1, MASKS, CELLS, CELLS)}
    return network.file(outputs, task="segment", labels=labels), network.flop / 1e9


def classify_model(labels: Sequence[str] = LABELS) -> tuple[bytes, float]:
    """An ONNX file that takes every image for the first of its classes, and its cost in GFLOP."""
    network = Layers(SMALL)
    *_, at_32 = _backbone(network)
    sums = network.dense(network.conv(at_32, 1280), len(labels))
    answer = np.linspace(3, 0, len(labels), dtype=np.float32)[None]
    network.add("Softmax", _planted(network, sums, answer), axis=1, name="output0")
    return network.file({"output0": (1, len(labels))}, task="classify", labels=labels), network.flop / 1e9


def _planted(network: Layers, found: str, answer: Float32Array, name: str = "") -> str:
    faint = network.add("Mul", found, network.constant(np.array(_NEGLIGIBLE, np.float32)))
    return network.add("Add", faint, network.constant(answer), name=name)


def _backbone(network: Layers) -> tuple[str, str, str]:
    """The image's features at strides 8, 16 and 32."""
    conv = network.conv
    x = conv(conv("images", 16, 3, 2), 32, 3, 2)
    x = _block(network, x, 64, 16)
    at_8 = _block(network, conv(x, 64, 3, 2), 128, 32)
    at_16 = _block(network, conv(at_8, 128, 3, 2), 128, 64, deep=True)
    return at_8, at_16, _block(network, conv(at_16, 256, 3, 2), 256, 128, deep=True)


def _neck(network: Layers, at_8: str, at_16: str, at_32: str) -> tuple[str, str, str]:
    """The same three, each told what the others saw."""
    conv = network.conv
    pools = [conv(at_32, 128)]
    for _ in range(3):
        pools.append(network.pool(pools[-1]))
    at_32 = conv(network.join(*pools), 256)

    neck_16 = _block(network, network.join(network.enlarge(at_32), at_16), 128, 64)
    out_8 = _block(network, network.join(network.enlarge(neck_16), at_8), 64, 32)
    out_16 = _block(network, network.join(conv(out_8, 64, 3, 2), neck_16), 128, 64)
    out_32 = _block(network, network.join(conv(out_16, 128, 3, 2), at_32), 256, 128, deep=True)
    return out_8, out_16, out_32


def _block(network: Layers, x: str, out: int, inner: int, *, deep: bool = False) -> str:
    """Half of the channels through a residual part, and all that was on the way joined."""
    left, right = network.split(network.conv(x, 2 * inner))
    if deep:
        half = inner // 2
        y = network.conv(right, half)
        for _ in range(2):
            y = _residual(network, y, half)
        y = network.conv(network.join(y, network.conv(right, half)), inner)
    else:
        y = _residual(network, right, inner // 2)
    return network.conv(network.join(left, right, y), out)


def _residual(network: Layers, x: str, inner: int) -> str:
    return network.sum(x, network.conv(network.conv(x, inner, 3), network.channels(x), 3))


def _head(network: Layers, features: Sequence[str], classes: int) -> tuple[list[str], list[str]]:
    """Each scale's scores (1, classes, anchors) and sides (1, 4, anchors)."""
    scores, sides = [], []
    bins = network.constant(np.arange(_BINS, dtype=np.float32).reshape(1, 1, _BINS, 1))
    axes = network.constant(np.array([2], np.int64))
    for x in features:
        box = network.conv(network.conv(network.conv(x, 64, 3), 64, 3), 4 * _BINS, plain=True)
        likely = network.add("Softmax", network.flat(box, 4, _BINS), axis=2)
        sides.append(network.add("ReduceSum", network.add("Mul", likely, bins), axes, keepdims=0))
        width = max(64, min(classes, 100))
        seen = network.conv(network.conv(x, network.channels(x), 3, each=True), width)
        seen = network.conv(network.conv(seen, width, 3, each=True), width)
        scores.append(network.add("Sigmoid", network.flat(network.conv(seen, classes, plain=True), classes)))
    return scores, sides


def _boxes(network: Layers, sides: Sequence[str], scores: Sequence[str]) -> str:
    """(1, 4 + classes, ANCHORS)"""
    return network.add(
        "Concat", network.add("Concat", *sides, axis=2), network.add("Concat", *scores, axis=2), axis=1
    )
