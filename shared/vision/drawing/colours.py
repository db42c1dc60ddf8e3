"""The colours of pictures: of labels, of segments' labels, and of bands from small to large. Knows no pixels."""

from __future__ import annotations

from typing import Final

Colour = tuple[int, int, int]

INK: Final[Colour] = (16, 18, 22)
PAPER: Final[Colour] = (250, 250, 250)
# Bright against soil and leaves, and told apart by those who see colours differently.
_PALETTE: Final[tuple[Colour, ...]] = (
    (255, 64, 160),
    (0, 200, 255),
    (255, 214, 0),
    (255, 120, 0),
    (122, 92, 255),
    (255, 255, 255),
    (0, 235, 170),
    (235, 50, 50),
)
# None of the above: what lies in a segment never looks like a segment.
_GROUNDS: Final[tuple[Colour, ...]] = (
    (60, 130, 255),
    (255, 176, 136),
    (196, 255, 70),
    (200, 110, 255),
    (120, 225, 225),
    (255, 150, 220),
)
_RAMP: Final[tuple[Colour, ...]] = ((0, 190, 255), (255, 255, 255), (255, 110, 0))


def class_colour(class_id: int) -> Colour:
    return _PALETTE[class_id % len(_PALETTE)]


def segment_colour(class_id: int) -> Colour:
    """Of a segment's label; none of `class_colour`'s."""
    return _GROUNDS[class_id % len(_GROUNDS)]


def diverging_palette(count: int) -> list[Colour]:
    """`count` colours in an order that is seen: cold, white, warm. What is usual is in the middle."""
    if count == 1:
        return [_RAMP[1]]
    found = []
    for index in range(count):
        first, place = divmod(index * (len(_RAMP) - 1), count - 1)
        low, high = _RAMP[first], _RAMP[min(first + 1, len(_RAMP) - 1)]
        red, green, blue = (round(a + (b - a) * place / (count - 1)) for a, b in zip(low, high, strict=True))
        found.append((red, green, blue))
    return found


def pack_rgb(ink: Colour) -> int:
    """As a pixel of four bytes: red in the lowest."""
    return ink[0] | ink[1] << 8 | ink[2] << 16


def is_light(ink: Colour) -> bool:
    red, green, blue = ink
    return 0.299 * red + 0.587 * green + 0.114 * blue > 140
