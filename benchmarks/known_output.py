"""Make the fixed outputs of the benchmarks' models: objects as a trained model would report them."""

from __future__ import annotations

from typing import Final

import numpy as np

from shared.vision.arrays import Float32Array, Float64Array, IndexArray, SizeHW
from shared.vision.images.letterbox import letterbox

CANVAS_PX: Final = 640
ANCHOR_COUNT: Final = 8400  # 80 * 80 + 40 * 40 + 20 * 20
MASK_COEFFICIENTS: Final = 32
PROTOTYPE_SIDE: Final = 160  # px
_ANCHORS_PER_OBJECT: Final = 6


def object_centres(objects: int, image_hw: SizeHW) -> tuple[Float64Array, Float32Array]:
    """Place objects on a grid over the part of the canvas that an image of that size covers.

    Returns:
        The centres (n, 2) xy and the size of the grid's cells (2,), canvas px.
    """
    geometry = letterbox(image_hw, (CANVAS_PX, CANVAS_PX))
    height, width = geometry.resized_hw
    columns = max(1, round(np.sqrt(objects * width / height)))
    rows = -(-objects // columns)
    cell = np.array((width / columns, height / rows), np.float32)
    row, column = np.divmod(np.arange(objects), columns)
    return (np.stack((column, row), axis=1) + 0.5) * cell + (geometry.left, geometry.top), cell


def boxes(classes: int, objects: int, image_hw: SizeHW) -> Float32Array:
    """Return boxes and scores (1, 4 + classes, ANCHOR_COUNT), xywh in canvas px.

    Several neighbouring anchors report each object.
    """
    rng = np.random.default_rng(11)
    output = np.zeros((1, 4 + classes, ANCHOR_COUNT), np.float32)
    output[:, :4] = CANVAS_PX / 2
    output[:, 4:] = rng.uniform(0, 0.1, output[:, 4:].shape)
    centres, cell = object_centres(objects, image_hw)
    for index, centre in enumerate(centres):
        anchors = anchors_of(index, objects)
        size = rng.uniform(0.5, 0.8, 2) * cell
        jitter = rng.uniform(-0.015, 0.015, (4, _ANCHORS_PER_OBJECT)) * cell.min()
        output[0, :4, anchors] = (np.array((*centre, *size))[:, None] + jitter).T
        output[0, 4 + index % classes, anchors] = rng.uniform(0.3, 0.95) - 0.02 * np.arange(_ANCHORS_PER_OBJECT)
    return output


def coefficients(objects: int) -> Float32Array:
    """Return mask coefficients (1, MASK_COEFFICIENTS, ANCHOR_COUNT) that select one prototype for each object.

    Objects that share a prototype are far apart.
    """
    output = np.zeros((1, MASK_COEFFICIENTS, ANCHOR_COUNT), np.float32)
    for index in range(objects):
        output[0, index % MASK_COEFFICIENTS, anchors_of(index, objects)] = 4
    return output


def prototypes(objects: int, image_hw: SizeHW) -> Float32Array:
    """Return prototypes (1, MASK_COEFFICIENTS, PROTOTYPE_SIDE, PROTOTYPE_SIDE).

    They are positive inside a disc with a wavy edge at the centre of each object.
    """
    rng = np.random.default_rng(13)
    planes = np.full((MASK_COEFFICIENTS, PROTOTYPE_SIDE, PROTOTYPE_SIDE), -1, np.float32)
    centres, cell = object_centres(objects, image_hw)
    y, x = (np.mgrid[:PROTOTYPE_SIDE, :PROTOTYPE_SIDE] + 0.5) * (CANVAS_PX / PROTOTYPE_SIDE)
    for index, (left, top) in enumerate(centres.tolist()):
        across, down = (x - left) / (0.33 * cell[0]), (y - top) / (0.33 * cell[1])
        angle = np.arctan2(down, across)
        radius = 0.85 + 0.1 * np.sin(rng.integers(3, 7) * angle + rng.uniform(0, 6))
        plane = planes[index % MASK_COEFFICIENTS]
        np.maximum(plane, np.clip(radius - np.hypot(across, down), -1, 1), out=plane)
    return planes[None]


def anchors_of(index: int, objects: int) -> IndexArray:
    """Return the anchors that report an object."""
    return index * (ANCHOR_COUNT // objects) + np.arange(_ANCHORS_PER_OBJECT)
