"""Chooses the colours of pictures: one for each class of objects or segments, and palettes for size bands."""

from __future__ import annotations

from typing import Final

Colour = tuple[int, int, int]  # red, green, blue, 0 to 255

INK: Final[Colour] = (16, 18, 22)
PAPER: Final[Colour] = (250, 250, 250)
# Bright against soil and leaves, and distinguishable with colour blindness.
_CLASS_COLOURS: Final[tuple[Colour, ...]] = (
    (255, 64, 160),
    (0, 200, 255),
    (255, 214, 0),
    (255, 120, 0),
    (122, 92, 255),
    (255, 255, 255),
    (0, 235, 170),
    (235, 50, 50),
)
# None of the class colours, so that a detection never looks like the segment that contains it.
_SEGMENT_COLOURS: Final[tuple[Colour, ...]] = (
    (60, 130, 255),
    (255, 176, 136),
    (196, 255, 70),
    (200, 110, 255),
    (120, 225, 225),
    (255, 150, 220),
)
_DIVERGING_STOPS: Final[tuple[Colour, ...]] = ((0, 190, 255), (255, 255, 255), (255, 110, 0))


def class_colour(class_id: int) -> Colour:
    """Return the colour of a detection's class."""
    return _CLASS_COLOURS[class_id % len(_CLASS_COLOURS)]


def segment_colour(class_id: int) -> Colour:
    """Return the colour of a segment's class, which is none of the colours of `class_colour`."""
    return _SEGMENT_COLOURS[class_id % len(_SEGMENT_COLOURS)]


def diverging_palette(count: int) -> list[Colour]:
    """Return `count` colours from cold through white to warm, with white for the usual values in the middle."""
    if count == 1:
        return [_DIVERGING_STOPS[1]]
    palette = []
    for index in range(count):
        first, fraction = divmod(index * (len(_DIVERGING_STOPS) - 1), count - 1)
        low, high = _DIVERGING_STOPS[first], _DIVERGING_STOPS[min(first + 1, len(_DIVERGING_STOPS) - 1)]
        red, green, blue = (round(a + (b - a) * fraction / (count - 1)) for a, b in zip(low, high, strict=True))
        palette.append((red, green, blue))
    return palette


def pack_rgb(colour: Colour) -> int:
    """Return the colour as a four-byte pixel, with red in the lowest byte."""
    return colour[0] | colour[1] << 8 | colour[2] << 16


def is_light(colour: Colour) -> bool:
    """Return whether dark text is easier to read on the colour than light text, by its luma (ITU-R BT.601)."""
    red, green, blue = colour
    return 0.299 * red + 0.587 * green + 0.114 * blue > 140
