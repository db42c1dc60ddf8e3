"""Images as arrays: black, with rectangles of one colour each, as the models of `blobs()` find them."""

import io

import numpy as np
from PIL import Image

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def scene(size_hw, rectangles=(), colour=RED):
    """(h, w, 3) uint8; `rectangles` are x1, y1, x2, y2 and a colour, if it is another one."""
    image = np.zeros((*size_hw, 3), np.uint8)
    for x1, y1, x2, y2, *own in rectangles:
        image[y1:y2, x1:x2] = own[0] if own else colour
    return image


def png(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def white(size_hw):
    return np.full((*size_hw, 3), 255, np.uint8)


def scattered(seed, size_hw, count, *, sides=(6, 20), gap=3):
    """`count` rectangles that do not touch, as `scene` takes them, red or blue."""
    rng = np.random.default_rng(seed)
    taken = np.zeros(size_hw, bool)
    found = []
    while len(found) < count:
        width, height = rng.integers(*sides, 2).tolist()
        x, y = int(rng.integers(0, size_hw[1] - width)), int(rng.integers(0, size_hw[0] - height))
        if not taken[max(y - gap, 0) : y + height + gap, max(x - gap, 0) : x + width + gap].any():
            taken[y : y + height, x : x + width] = True
            found.append((x, y, x + width, y + height, (RED, BLUE)[len(found) % 2]))
    return found
