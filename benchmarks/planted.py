"""The answers that the benchmarks' models are made with: objects as a trained model would give them."""

from __future__ import annotations

from typing import Final

import numpy as np

from shared.vision.arrays import Float32Array, IndexArray, SizeHW
from shared.vision.images.letterbox import letterbox

CANVAS: Final = 640
ANCHORS: Final = 8400  # 80 * 80 + 40 * 40 + 20 * 20
MASKS: Final = 32
CELLS: Final = 160  # of a prototype, a side
_ANCHORS_EACH: Final = 6


def middles(objects: int, image_hw: SizeHW) -> tuple[Float32Array, Float32Array]:
    """(n, 2) xy in canvas px of objects on a grid, and (2,) the size of its cells.

    They lie where an image of that size does in the canvas, none of them in its padding.
    """
    place = letterbox(image_hw, (CANVAS, CANVAS))
    height, width = place.resized_hw
    columns = max(1, round(np.sqrt(objects * width / height)))
    rows = -(-objects // columns)
    cell = np.array((width / columns, height / rows), np.float32)
    row, column = np.divmod(np.arange(objects), columns)
    return (np.stack((column, row), axis=1) + 0.5) * cell + (place.left, place.top), cell


def boxes(classes: int, objects: int, image_hw: SizeHW) -> Float32Array:
    """(1, 4 + classes, ANCHORS): xywh in canvas px and scores; each object is found by neighbouring anchors."""
    rng = np.random.default_rng(11)
    answer = np.zeros((1, 4 + classes, ANCHORS), np.float32)
    answer[:, :4] = CANVAS / 2
    answer[:, 4:] = rng.uniform(0, 0.1, answer[:, 4:].shape)
    places, cell = middles(objects, image_hw)
    for index, middle in enumerate(places):
        anchors = anchors_of(index, objects)
        size = rng.uniform(0.5, 0.8, 2) * cell
        jitter = rng.uniform(-0.015, 0.015, (4, _ANCHORS_EACH)) * cell.min()
        answer[0, :4, anchors] = (np.array((*middle, *size))[:, None] + jitter).T
        answer[0, 4 + index % classes, anchors] = rng.uniform(0.3, 0.95) - 0.02 * np.arange(_ANCHORS_EACH)
    return answer


def coefficients(objects: int) -> Float32Array:
    """(1, MASKS, ANCHORS): each object is on one of the prototypes, several of them far apart on each."""
    answer = np.zeros((1, MASKS, ANCHORS), np.float32)
    for index in range(objects):
        answer[0, index % MASKS, anchors_of(index, objects)] = 4
    return answer


def prototypes(objects: int, image_hw: SizeHW) -> Float32Array:
    """(1, MASKS, CELLS, CELLS): above zero in a round thing with a wavy edge in the middle of each object."""
    rng = np.random.default_rng(13)
    planes = np.full((MASKS, CELLS, CELLS), -1, np.float32)
    places, cell = middles(objects, image_hw)
    y, x = (np.mgrid[:CELLS, :CELLS] + 0.5) * (CANVAS / CELLS)
    for index, (left, top) in enumerate(places.tolist()):
        across, down = (x - left) / (0.33 * cell[0]), (y - top) / (0.33 * cell[1])
        angle = np.arctan2(down, across)
        radius = 0.85 + 0.1 * np.sin(rng.integers(3, 7) * angle + rng.uniform(0, 6))
        plane = planes[index % MASKS]
        np.maximum(plane, np.clip(radius - np.hypot(across, down), -1, 1), out=plane)
    return planes[None]


def anchors_of(index: int, objects: int) -> IndexArray:
    return index * (ANCHORS // objects) + np.arange(_ANCHORS_EACH)
