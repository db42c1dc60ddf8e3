"""Make models of the size and cost of YOLO11n, its segmenter and its classifier, with a known output.

They have the layers of those networks at 640 px (224 px for the classifier), so a run costs what a tenant's would.
The attention, a hundredth of the cost, is left out. Weights are random. The output is the network's own, scaled to
be negligible, plus a fixed one (`known_output`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from benchmarks import known_output
from benchmarks.graph_builder import GraphBuilder
from benchmarks.known_output import ANCHOR_COUNT, CANVAS_PX, MASK_COEFFICIENTS, PROTOTYPE_SIDE
from shared.vision.arrays import Float32Array, SizeHW

LABELS: Final = ("plant", "weed", "tray", "gap")
OBJECTS: Final = 30
CLASSIFIER_SIDE_PX: Final = 224
_SQUARE: Final = (CANVAS_PX, CANVAS_PX)
_BINS: Final = 16  # distance of a box's side: the mean of a distribution over 16 bins
_NEGLIGIBLE_FACTOR: Final = 1e-4


def detect_model(
    labels: Sequence[str] = LABELS, *, objects: int = OBJECTS, image_hw: SizeHW = _SQUARE
) -> tuple[bytes, float]:
    """Return an ONNX file that detects `objects` boxes in any image of that shape, and its cost in GFLOP."""
    network = GraphBuilder(CANVAS_PX)
    scores, sides = _head(network, _neck(network, *_backbone(network)), len(labels))
    output = _boxes(network, sides, scores)
    _with_known_output(network, output, known_output.boxes(len(labels), objects, image_hw), name="output0")
    outputs = {"output0": (1, 4 + len(labels), ANCHOR_COUNT)}
    return network.serialise(outputs, task="detect", labels=labels), network.flop / 1e9


def segment_model(
    labels: Sequence[str] = LABELS, *, objects: int = OBJECTS, image_hw: SizeHW = _SQUARE
) -> tuple[bytes, float]:
    """Return an ONNX file like that of `detect_model`, with a mask in each box."""
    network = GraphBuilder(CANVAS_PX)
    features = _neck(network, *_backbone(network))
    scores, sides = _head(network, features, len(labels))
    weights = [
        network.flat(
            network.conv(
                network.conv(network.conv(x, MASK_COEFFICIENTS, 3), MASK_COEFFICIENTS, 3),
                MASK_COEFFICIENTS,
                linear=True,
            ),
            MASK_COEFFICIENTS,
        )
        for x in features
    ]
    output = network.add("Concat", _boxes(network, sides, scores), network.add("Concat", *weights, axis=2), axis=1)
    known = known_output.boxes(len(labels), objects, image_hw), known_output.coefficients(objects)
    _with_known_output(network, output, np.concatenate(known, axis=1), name="output0")
    planes = network.conv(network.upsample_transposed(network.conv(features[0], 64, 3)), 64, 3)
    _with_known_output(
        network,
        network.conv(planes, MASK_COEFFICIENTS),
        known_output.prototypes(objects, image_hw),
        name="output1",
    )
    outputs = {
        "output0": (1, 4 + len(labels) + MASK_COEFFICIENTS, ANCHOR_COUNT),
        "output1": (1, MASK_COEFFICIENTS, PROTOTYPE_SIDE, PROTOTYPE_SIDE),
    }
    return network.serialise(outputs, task="segment", labels=labels), network.flop / 1e9


def classify_model(labels: Sequence[str] = LABELS) -> tuple[bytes, float]:
    """Return an ONNX file that classifies every image as the first of its classes, and its cost in GFLOP."""
    network = GraphBuilder(CLASSIFIER_SIDE_PX)
    *_, at_32 = _backbone(network)
    sums = network.dense(network.conv(at_32, 1280), len(labels))
    known = np.linspace(3, 0, len(labels), dtype=np.float32)[None]
    network.add("Softmax", _with_known_output(network, sums, known), axis=1, name="output0")
    return network.serialise({"output0": (1, len(labels))}, task="classify", labels=labels), network.flop / 1e9


def _with_known_output(network: GraphBuilder, output: str, known: Float32Array, name: str = "") -> str:
    faint = network.add("Mul", output, network.constant(np.array(_NEGLIGIBLE_FACTOR, np.float32)))
    return network.add("Add", faint, network.constant(known), name=name)


def _backbone(network: GraphBuilder) -> tuple[str, str, str]:
    """Add the backbone, and return its features at strides 8, 16 and 32."""
    conv = network.conv
    x = conv(conv("images", 16, 3, 2), 32, 3, 2)
    x = _block(network, x, 64, 16)
    at_8 = _block(network, conv(x, 64, 3, 2), 128, 32)
    at_16 = _block(network, conv(at_8, 128, 3, 2), 128, 64, deep=True)
    return at_8, at_16, _block(network, conv(at_16, 256, 3, 2), 256, 128, deep=True)


def _neck(network: GraphBuilder, at_8: str, at_16: str, at_32: str) -> tuple[str, str, str]:
    """Add a path aggregation network, and return the combined features at the three strides."""
    conv = network.conv
    pools = [conv(at_32, 128)]
    for _ in range(3):
        pools.append(network.pool(pools[-1]))
    at_32 = conv(network.join(*pools), 256)

    neck_16 = _block(network, network.join(network.upsample_nearest(at_32), at_16), 128, 64)
    out_8 = _block(network, network.join(network.upsample_nearest(neck_16), at_8), 64, 32)
    out_16 = _block(network, network.join(conv(out_8, 64, 3, 2), neck_16), 128, 64)
    out_32 = _block(network, network.join(conv(out_16, 128, 3, 2), at_32), 256, 128, deep=True)
    return out_8, out_16, out_32


def _block(network: GraphBuilder, x: str, out: int, inner: int, *, deep: bool = False) -> str:
    """Add a cross-stage partial block: half of the channels pass a residual part, then all are joined."""
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


def _residual(network: GraphBuilder, x: str, inner: int) -> str:
    return network.sum(x, network.conv(network.conv(x, inner, 3), network.channels(x), 3))


def _head(network: GraphBuilder, features: Sequence[str], classes: int) -> tuple[list[str], list[str]]:
    """Add the heads, and return each scale's scores (1, classes, anchors) and sides (1, 4, anchors)."""
    scores, sides = [], []
    bins = network.constant(np.arange(_BINS, dtype=np.float32).reshape(1, 1, _BINS, 1))
    axes = network.constant(np.array([2], np.int64))
    for x in features:
        box = network.conv(network.conv(network.conv(x, 64, 3), 64, 3), 4 * _BINS, linear=True)
        distribution = network.add("Softmax", network.flat(box, 4, _BINS), axis=2)
        sides.append(network.add("ReduceSum", network.add("Mul", distribution, bins), axes, keepdims=0))
        width = max(64, min(classes, 100))
        seen = network.conv(network.conv(x, network.channels(x), 3, depthwise=True), width)
        seen = network.conv(network.conv(seen, width, 3, depthwise=True), width)
        scores.append(network.add("Sigmoid", network.flat(network.conv(seen, classes, linear=True), classes)))
    return scores, sides


def _boxes(network: GraphBuilder, sides: Sequence[str], scores: Sequence[str]) -> str:
    """Join the scales to boxes and scores (1, 4 + classes, ANCHOR_COUNT)."""
    return network.add(
        "Concat", network.add("Concat", *sides, axis=2), network.add("Concat", *scores, axis=2), axis=1
    )
