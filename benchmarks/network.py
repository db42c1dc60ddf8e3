"""A detect model of YOLO11n's size and cost, with random weights and a known answer. It detects nothing.

Layer by layer the shape of YOLO11n at 640 px (but for its attention, a hundredth of the cost, which is left
out), so that one run costs what a tenant's would. What comes out is the network's answer made negligible, plus
a fixed pattern: boxes as a trained model would give them, each found by several neighbouring anchors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper

CANVAS: Final = 640
LABELS: Final = ("plant", "weed", "tray", "gap")
OBJECTS: Final = 30
ANCHORS: Final = 8400  # 80 * 80 + 40 * 40 + 20 * 20
_ANCHORS_EACH: Final = 6
_BINS: Final = 16  # a side's distance is the mean of a distribution over as many
_NEGLIGIBLE: Final = 1e-4


def detect_model(labels: Sequence[str] = LABELS, *, objects: int = OBJECTS) -> tuple[bytes, float]:
    """An ONNX file that finds `objects` boxes in any image, and its cost in GFLOP (two a multiplication)."""
    network = _Network()
    scores, sides = _head(network, _backbone_and_neck(network), len(labels))
    found = network.add(
        "Concat", network.add("Concat", *sides, axis=2), network.add("Concat", *scores, axis=2), axis=1
    )
    answer = network.constant(pattern(len(labels), objects))
    faint = network.add("Mul", found, network.constant(np.array(_NEGLIGIBLE, np.float32)))
    network.add("Add", faint, answer, name="output0")
    return network.file(labels), network.flop / 1e9


def pattern(classes: int, objects: int) -> npt.NDArray[np.float32]:
    """(1, 4 + classes, ANCHORS): xywh in canvas px and scores, of `objects` boxes on a grid that do not touch."""
    rng = np.random.default_rng(11)
    answer = np.zeros((1, 4 + classes, ANCHORS), np.float32)
    answer[:, :4] = CANVAS / 2
    answer[:, 4:] = rng.uniform(0, 0.1, answer[:, 4:].shape)
    columns = int(np.ceil(np.sqrt(objects)))
    cell = CANVAS / columns
    for index in range(objects):
        row, column = divmod(index, columns)
        anchors = index * (ANCHORS // objects) + np.arange(_ANCHORS_EACH)
        middle = (column + 0.5) * cell, (row + 0.5) * cell
        size = rng.uniform(0.4, 0.7, 2) * cell
        jitter = rng.uniform(-0.015, 0.015, (4, _ANCHORS_EACH)) * cell
        answer[0, :4, anchors] = (np.array((*middle, *size))[:, None] + jitter).T
        answer[0, 4 + index % classes, anchors] = rng.uniform(0.3, 0.95) - 0.02 * np.arange(_ANCHORS_EACH)
    return answer


class _Network:
    """Nodes and weights as they are added; counts what they cost."""

    def __init__(self) -> None:
        self.flop = 0.0
        self._rng = np.random.default_rng(7)
        self._nodes: list[object] = []
        self._weights: list[object] = []
        self._shapes = {"images": (3, CANVAS)}  # (channels, side in px) of what a convolution may take

    def add(self, kind: str, *inputs: str, name: str = "", **attributes: object) -> str:
        name = name or f"x{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def constant(self, values: npt.NDArray[np.generic]) -> str:
        name = f"w{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(values, name))
        return name

    def conv(
        self, x: str, out: int, size: int = 1, stride: int = 1, *, each: bool = False, plain: bool = False
    ) -> str:
        """A convolution with SiLU behind it unless `plain`; `each`: of each channel on its own."""
        channels, side = self._shapes[x]
        groups = channels if each else 1
        side //= stride
        weights = self._rng.standard_normal((out, channels // groups, size, size), np.float32)
        weights *= np.float32(np.sqrt(2 * groups / (channels * size * size)))
        bias = self.constant(np.zeros(out, np.float32))
        y = self.add(
            "Conv",
            x,
            self.constant(weights),
            bias,
            kernel_shape=[size, size],
            strides=[stride, stride],
            pads=[size // 2] * 4,
            group=groups,
        )
        self.flop += 2 * weights.size * side * side
        if not plain:
            y = self.add("Mul", y, self.add("Sigmoid", y))
        return self._of(y, out, side)

    def channels(self, x: str) -> int:
        return self._shapes[x][0]

    def split(self, x: str) -> tuple[str, str]:
        channels, side = self._shapes[x]
        halves = f"{x}a", f"{x}b"
        self._nodes.append(helper.make_node("Split", [x], list(halves), axis=1, num_outputs=2))
        return self._of(halves[0], channels // 2, side), self._of(halves[1], channels // 2, side)

    def join(self, *parts: str) -> str:
        channels = sum(self._shapes[part][0] for part in parts)
        return self._of(self.add("Concat", *parts, axis=1), channels, self._shapes[parts[0]][1])

    def sum(self, x: str, y: str) -> str:
        return self._of(self.add("Add", x, y), *self._shapes[x])

    def pool(self, x: str) -> str:
        pooled = self.add("MaxPool", x, kernel_shape=[5, 5], strides=[1, 1], pads=[2] * 4)
        return self._of(pooled, *self._shapes[x])

    def enlarge(self, x: str) -> str:
        channels, side = self._shapes[x]
        scales = self.constant(np.array((1, 1, 2, 2), np.float32))
        return self._of(self.add("Resize", x, "", scales, mode="nearest"), channels, 2 * side)

    def flat(self, x: str, *shape: int) -> str:
        """`x` as (1, *shape, anchors of this scale)."""
        side = self._shapes[x][1]
        return self.add("Reshape", x, self.constant(np.array((1, *shape, side * side), np.int64)))

    def file(self, labels: Sequence[str]) -> bytes:
        shape = [1, 4 + len(labels), ANCHORS]
        graph = helper.make_graph(
            self._nodes,
            "benchmark",
            [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, CANVAS, CANVAS])],
            [helper.make_tensor_value_info("output0", TensorProto.FLOAT, shape)],
            self._weights,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
        names = str(dict(enumerate(labels)))
        helper.set_model_props(
            model, {"task": "detect", "stride": "32", "imgsz": f"[{CANVAS}, {CANVAS}]", "names": names}
        )
        data: bytes = model.SerializeToString()
        return data

    def _of(self, name: str, channels: int, side: int) -> str:
        self._shapes[name] = channels, side
        return name


def _backbone_and_neck(network: _Network) -> tuple[str, str, str]:
    """The images' features at strides 8, 16 and 32."""
    conv = network.conv
    x = conv(conv("images", 16, 3, 2), 32, 3, 2)
    x = _block(network, x, 64, 16)
    at_8 = _block(network, conv(x, 64, 3, 2), 128, 32)
    at_16 = _block(network, conv(at_8, 128, 3, 2), 128, 64, deep=True)
    at_32 = _block(network, conv(at_16, 256, 3, 2), 256, 128, deep=True)
    pools = [conv(at_32, 128)]
    for _ in range(3):
        pools.append(network.pool(pools[-1]))
    at_32 = conv(network.join(*pools), 256)

    neck_16 = _block(network, network.join(network.enlarge(at_32), at_16), 128, 64)
    out_8 = _block(network, network.join(network.enlarge(neck_16), at_8), 64, 32)
    out_16 = _block(network, network.join(conv(out_8, 64, 3, 2), neck_16), 128, 64)
    out_32 = _block(network, network.join(conv(out_16, 128, 3, 2), at_32), 256, 128, deep=True)
    return out_8, out_16, out_32


def _block(network: _Network, x: str, out: int, inner: int, *, deep: bool = False) -> str:
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


def _residual(network: _Network, x: str, inner: int) -> str:
    return network.sum(x, network.conv(network.conv(x, inner, 3), network.channels(x), 3))


def _head(network: _Network, features: Sequence[str], classes: int) -> tuple[list[str], list[str]]:
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
