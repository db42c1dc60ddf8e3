"""Detect objects in one image with a minimal script: `bare_script.py MODEL IMAGE`.

`predict` is measured against it. It needs numpy, Pillow and onnxruntime, and nothing of this repository.
"""

from __future__ import annotations

import sys

import numpy as np
import numpy.typing as npt
import onnxruntime
from PIL import Image

Box = npt.NDArray[np.float32]  # (4,) xyxy


def main(model: str, path: str) -> None:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    _, _, height, width = session.get_inputs()[0].shape
    image = Image.open(path).convert("RGB")
    ratio = min(width / image.width, height / image.height)
    small = image.resize((round(image.width * ratio), round(image.height * ratio)), Image.Resampling.BILINEAR)
    left, top = (width - small.width) // 2, (height - small.height) // 2
    canvas = Image.new("RGB", (width, height), (114, 114, 114))
    canvas.paste(small, (left, top))
    batch = (np.asarray(canvas, np.float32) / 255).transpose(2, 0, 1)[None]
    rows = session.run(None, {session.get_inputs()[0].name: np.ascontiguousarray(batch)})[0][0].T
    rows = rows[rows[:, 4:].max(axis=1) > 0.25]
    rows = rows[np.argsort(-rows[:, 4:].max(axis=1))]
    half = rows[:, 2:4] / 2
    boxes = np.concatenate((rows[:, :2] - half, rows[:, :2] + half), axis=1)
    classes = rows[:, 4:].argmax(axis=1)
    kept: list[int] = []
    for index, box in enumerate(boxes):
        if not any(classes[index] == classes[other] and iou(box, boxes[other]) > 0.7 for other in kept):
            kept.append(index)
    for index in kept:
        print(classes[index], rows[index, 4:].max(), (boxes[index] - (left, top, left, top)) / ratio)


def iou(one: Box, other: Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    common = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return float(common / (sum(areas) - common))


if __name__ == "__main__":
    main(*sys.argv[1:])
