"""Makes images, as arrays, of coloured rectangles on black, which the models of `blob_detector()` detect."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from shared.vision.arrays import Pixels, SizeHW

Colour = tuple[int, int, int]
# x1, y1, x2, y2, and a colour if it differs from the scene's
Rectangle = tuple[int, int, int, int] | tuple[int, int, int, int, Colour]

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def scene(size_hw: SizeHW, rectangles: Sequence[Rectangle] = (), colour: Colour = RED) -> Pixels:
    """Return (h, w, 3) uint8 RGB with the rectangles in it."""
    image = np.zeros((*size_hw, 3), np.uint8)
    for x1, y1, x2, y2, *own in rectangles:
        image[y1:y2, x1:x2] = own[0] if own else colour
    return image


def png(image: Pixels) -> bytes:
    """Encode an image as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def white(size_hw: SizeHW) -> Pixels:
    """Return (h, w, 3) uint8 RGB, all white."""
    return np.full((*size_hw, 3), 255, np.uint8)


def scattered(
    seed: int, size_hw: SizeHW, count: int, *, sides: tuple[int, int] = (6, 20), gap: int = 3
) -> list[Rectangle]:
    """Return `count` red and blue rectangles that are at least `gap` px apart."""
    rng = np.random.default_rng(seed)
    taken = np.zeros(size_hw, bool)
    rectangles: list[Rectangle] = []
    while len(rectangles) < count:
        width, height = rng.integers(*sides, 2).tolist()
        x, y = int(rng.integers(0, size_hw[1] - width)), int(rng.integers(0, size_hw[0] - height))
        if not taken[max(y - gap, 0) : y + height + gap, max(x - gap, 0) : x + width + gap].any():
            taken[y : y + height, x : x + width] = True
            rectangles.append((x, y, x + width, y + height, (RED, BLUE)[len(rectangles) % 2]))
    return rectangles
