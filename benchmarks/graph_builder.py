"""Build an ONNX graph layer by layer, and count its floating-point operations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, TensorProto, helper, numpy_helper

from shared.vision.arrays import Float32Array


class GraphBuilder:
    """Builds a network with random weights and one input, `images` (1, 3, side, side)."""

    def __init__(self, side: int) -> None:
        self.flop = 0.0  # a multiplication and its addition count as two
        self._side = side
        self._rng = np.random.default_rng(7)
        self._nodes: list[NodeProto] = []
        self._weights: list[TensorProto] = []
        self._shapes = {"images": (3, side)}  # (channels, side in px) of each feature map

    def add(self, kind: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        name = name or f"x{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def constant(self, values: npt.NDArray[np.generic]) -> str:
        name = f"w{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(values, name))
        return name

    def conv(
        self, x: str, out: int, size: int = 1, stride: int = 1, *, depthwise: bool = False, linear: bool = False
    ) -> str:
        """Add a convolution, with SiLU behind it unless it is `linear`."""
        channels, side = self._shapes[x]
        groups = channels if depthwise else 1
        side //= stride
        weights = self._random(out, channels // groups, size, size, inputs=channels * size * size // groups)
        y = self.add(
            "Conv",
            x,
            self.constant(weights),
            self.constant(np.zeros(out, np.float32)),
            kernel_shape=[size, size],
            strides=[stride, stride],
            pads=[size // 2] * 4,
            group=groups,
        )
        self.flop += 2 * weights.size * side * side
        if not linear:
            y = self.add("Mul", y, self.add("Sigmoid", y))
        return self._with_shape(y, out, side)

    def upsample_transposed(self, x: str) -> str:
        """Double the side with a transposed convolution."""
        channels, side = self._shapes[x]
        weights = self._random(channels, channels, 2, 2, inputs=channels)
        y = self.add("ConvTranspose", x, self.constant(weights), kernel_shape=[2, 2], strides=[2, 2])
        self.flop += 2 * weights.size * side * side
        return self._with_shape(y, channels, 2 * side)

    def dense(self, x: str, out: int) -> str:
        """Average each channel, and add a dense layer with `out` outputs (1, out)."""
        channels = self.channels(x)
        mean = self.add("Flatten", self.add("GlobalAveragePool", x))
        self.flop += 2 * channels * out
        return self.add("MatMul", mean, self.constant(self._random(channels, out, inputs=channels)))

    def channels(self, x: str) -> int:
        return self._shapes[x][0]

    def split(self, x: str) -> tuple[str, str]:
        channels, side = self._shapes[x]
        halves = f"{x}a", f"{x}b"
        self._nodes.append(helper.make_node("Split", [x], list(halves), axis=1, num_outputs=2))
        return self._with_shape(halves[0], channels // 2, side), self._with_shape(halves[1], channels // 2, side)

    def join(self, *parts: str) -> str:
        channels = sum(self._shapes[part][0] for part in parts)
        return self._with_shape(self.add("Concat", *parts, axis=1), channels, self._shapes[parts[0]][1])

    def sum(self, x: str, y: str) -> str:
        return self._with_shape(self.add("Add", x, y), *self._shapes[x])

    def pool(self, x: str) -> str:
        pooled = self.add("MaxPool", x, kernel_shape=[5, 5], strides=[1, 1], pads=[2] * 4)
        return self._with_shape(pooled, *self._shapes[x])

    def upsample_nearest(self, x: str) -> str:
        channels, side = self._shapes[x]
        scales = self.constant(np.array((1, 1, 2, 2), np.float32))
        return self._with_shape(self.add("Resize", x, "", scales, mode="nearest"), channels, 2 * side)

    def flat(self, x: str, *shape: int) -> str:
        """Reshape `x` to (1, *shape, anchors of this scale)."""
        side = self._shapes[x][1]
        return self.add("Reshape", x, self.constant(np.array((1, *shape, side * side), np.int64)))

    def serialise(self, outputs: Mapping[str, Sequence[int]], *, task: str, labels: Sequence[str]) -> bytes:
        """Return the ONNX file with these outputs, by name and shape, and the metadata of an export."""
        graph = helper.make_graph(
            self._nodes,
            "benchmark",
            [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, self._side, self._side])],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
            self._weights,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
        metadata = {
            "task": task,
            "stride": "32",
            "batch": "1",
            "channels": "3",
            "imgsz": f"[{self._side}, {self._side}]",
            "names": str(dict(enumerate(labels))),
        }
        helper.set_model_props(model, metadata)
        data: bytes = model.SerializeToString()
        return data

    def _random(self, *shape: int, inputs: int) -> Float32Array:
        """Return weights that keep the variance of their inputs (He initialisation)."""
        return self._rng.standard_normal(shape, np.float32) * np.float32(np.sqrt(2 / inputs))

    def _with_shape(self, name: str, channels: int, side: int) -> str:
        self._shapes[name] = channels, side
        return name
