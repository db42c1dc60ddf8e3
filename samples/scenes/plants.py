"""Draw plants from above, each in one of three states of health."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from samples.scenes.plant_painter import PlantPainter

if TYPE_CHECKING:
    from PIL import Image

    from samples.scenes.textures import Colour

STATES = ("healthy", "dry", "diseased")

_GREENS: tuple[Colour, ...] = (
    (96, 158, 62),
    (74, 140, 58),
    (122, 172, 70),
    (64, 124, 66),
    (106, 150, 96),
    (140, 182, 84),
)
_STRAW: Colour = (178, 152, 84)
_RUST: Colour = (112, 70, 38)
_BLOOMS: tuple[Colour, ...] = (
    (226, 74, 112),
    (236, 190, 52),
    (208, 52, 48),
    (240, 232, 226),
    (150, 92, 196),
    (238, 132, 60),
)


@dataclass(frozen=True)
class Species:
    """The traits that all plants of one crop share."""

    green: Colour
    paint_leaves: int
    width: float  # half of a leaf's width, as a share of its length
    blunt: float
    ruffle: float
    bloom: Colour
    petals: int


def random_species(rng: np.random.Generator) -> Species:
    """Return random traits of a crop."""
    green = _GREENS[rng.integers(len(_GREENS))]
    return Species(
        green=_shifted(rng, green, 10),
        paint_leaves=int(rng.integers(7, 14)),
        width=float(rng.uniform(0.20, 0.42)),
        blunt=float(rng.uniform(0.22, 0.6)),
        ruffle=float(rng.choice([0.0, 0.0, 0.08, 0.14])),
        bloom=_BLOOMS[rng.integers(len(_BLOOMS))],
        petals=int(rng.integers(5, 9)),
    )


def rosette(rng: np.random.Generator, kind: Species, state: str, side_px: int, light: float) -> Image.Image:
    """Draw a leafy plant that fills its square."""
    painter = PlantPainter(side_px)
    paint_leaves(rng, painter, kind, state, light, reach=0.97)
    return painter.image()


def seedling(rng: np.random.Generator, kind: Species, state: str, side_px: int, light: float) -> Image.Image:
    """Draw a young plant: two round seed leaves and, if it is older, true leaves."""
    painter = PlantPainter(side_px)
    maturity = rng.uniform(0.0, 1.0)
    rotation = rng.uniform(0, math.tau)
    pairs = 1 + int(maturity * 2.99)
    for pair in range(pairs):
        length = (0.95 - 0.24 * pair) * rng.uniform(0.9, 1.03)
        width = length * (kind.width * 0.9 + (0.12 if pair == 0 else 0.0))
        for side in (0.0, math.pi):
            colour = _leaf_colour(rng, kind.green, state, old=pair == 0)
            angle = rotation + side + pair * math.pi / 2 + rng.uniform(-0.3, 0.3)
            droop = rng.uniform(0.7, 0.95) if state == "dry" else rng.uniform(0.88, 1.0)
            painter.leaf(
                (0.0, 0.0),
                angle,
                length * droop,
                width * (0.6 if state == "dry" else 1.0),
                _brighter(colour, 1.0 + 0.12 * pair),
                bend=rng.uniform(-0.25, 0.25),
                blunt=kind.blunt * 0.8,
                light=light,
            )
    painter.disc((0.0, 0.0), 0.07, _brighter(kind.green, 1.25))
    _paint_blemishes(rng, painter, state)
    return painter.image()


def potted(
    rng: np.random.Generator,
    kind: Species,
    state: str,
    side_px: int,
    light: float,
    *,
    blooming: bool,
    pot: Colour,
) -> Image.Image:
    """Draw a pot with a plant in it, with open flowers or with closed buds."""
    painter = PlantPainter(side_px)
    size = rng.uniform(0.66, 0.8)
    paint_pot(rng, painter, pot, light, size)
    paint_leaves(rng, painter, kind, state, light, reach=rng.uniform(0.84, 0.97))
    heads = int(rng.integers(4, 9)) if blooming else int(rng.integers(5, 12))
    for head in range(heads):
        away = 0.62 * math.sqrt((head + 0.4) / heads)
        angle = head * 2.4 + rng.uniform(-0.3, 0.3)
        x, y = away * math.cos(angle), away * math.sin(angle)
        if blooming:
            _paint_flower(
                rng, painter, kind, (x, y), size=rng.uniform(0.2, 0.3), light=light, faded=state == "dry"
            )
        else:
            radius = rng.uniform(0.055, 0.085)
            painter.disc((x, y), radius, _mixed(kind.green, (214, 226, 150), 0.55), light=light)
            tip = _mixed(kind.bloom, kind.green, 0.35)
            painter.disc((x + radius * 0.2, y - radius * 0.2), radius * 0.5, tip, light=light)
    return painter.image()


def paint_pot(rng: np.random.Generator, painter: PlantPainter, pot: Colour, light: float, radius: float) -> None:
    """Paint a pot with its rim and the soil in it."""
    painter.disc((0, 0), radius, _brighter(pot, 0.8), dome=0.15, light=light)
    painter.disc((0, 0), radius, _brighter(pot, 1.12), dome=0.25, light=light, hole=0.87)
    painter.disc((0, 0), radius * 0.86, (58, 43, 33), dome=-0.3, light=light)
    for _ in range(26):
        away, angle = 0.8 * radius * math.sqrt(rng.uniform()), rng.uniform(0, math.tau)
        shade = rng.uniform(0.6, 1.7)
        spot = (away * math.cos(angle), away * math.sin(angle))
        painter.disc(spot, rng.uniform(0.02, 0.05), _brighter((62, 46, 36), shade), light=light)


def grass(rng: np.random.Generator, side_px: int, light: float) -> Image.Image:
    """Draw a weed: a tuft of thin blades."""
    painter = PlantPainter(side_px)
    base = _shifted(rng, (118, 132, 62), 22)
    for _ in range(int(rng.integers(5, 10))):
        painter.leaf(
            (rng.uniform(-0.15, 0.15), rng.uniform(-0.15, 0.15)),
            rng.uniform(0, math.tau),
            rng.uniform(0.45, 0.85),
            rng.uniform(0.025, 0.05),
            _shifted(rng, base, 12),
            bend=rng.uniform(-0.6, 0.6),
            blunt=0.9,
            light=light,
        )
    return painter.image()


def pebble(rng: np.random.Generator, side_px: int, light: float) -> Image.Image:
    """Draw a stone of one to three rounded lumps."""
    painter = PlantPainter(side_px)
    grey = rng.uniform(96, 176)
    colour = (grey, grey * rng.uniform(0.9, 1.0), grey * rng.uniform(0.78, 0.96))
    for _ in range(int(rng.integers(1, 4))):
        spot = (rng.uniform(-0.3, 0.3), rng.uniform(-0.3, 0.3))
        painter.disc(spot, rng.uniform(0.4, 0.65), colour, dome=0.35, light=light)
    return painter.image()


def paint_leaves(
    rng: np.random.Generator,
    painter: PlantPainter,
    kind: Species,
    state: str,
    light: float,
    *,
    reach: float,
) -> None:
    """Paint whorls of leaves from the outside in."""
    rotation = rng.uniform(0, math.tau)
    count = max(5, kind.paint_leaves + int(rng.integers(-1, 2)))
    whorls = ((1.0, count, 0.80), (0.74, max(4, count - 3), 0.98), (0.44, max(3, count - 5), 1.2))
    for level, (size, number, shade) in enumerate(whorls):
        for leaf in range(number):
            angle = rotation + level * 0.5 + math.tau * leaf / number + rng.uniform(-0.14, 0.14)
            length = reach * size * rng.uniform(0.84, 1.0)
            thin = rng.uniform(0.5, 0.75) if state == "dry" else rng.uniform(0.9, 1.1)
            colour = _leaf_colour(rng, kind.green, state, old=level == 0)
            painter.leaf(
                (0.0, 0.0),
                angle,
                length,
                length * kind.width * thin,
                _brighter(colour, shade * rng.uniform(0.92, 1.08)),
                bend=rng.uniform(-0.5, 0.5) * (1.6 if state == "dry" else 0.5),
                blunt=kind.blunt,
                ruffle=kind.ruffle,
                light=light,
            )
    painter.disc((0.0, 0.0), 0.06 * reach, _brighter(kind.green, 1.35))
    _paint_blemishes(rng, painter, state)


def _paint_flower(
    rng: np.random.Generator,
    painter: PlantPainter,
    kind: Species,
    centre_xy: tuple[float, float],
    *,
    size: float,
    light: float,
    faded: bool,
) -> None:
    rotation = rng.uniform(0, math.tau)
    colour = _mixed(kind.bloom, _STRAW, 0.45) if faded else kind.bloom
    for petal in range(kind.petals):
        angle = rotation + math.tau * petal / kind.petals
        tone = _shifted(rng, colour, 8)
        painter.leaf(centre_xy, angle, size, size * 0.42, tone, blunt=0.3, vein=-0.1, light=light)
    heart = (232, 196, 70) if kind.bloom[2] > 60 or kind.bloom[1] < 100 else (120, 70, 30)
    painter.disc(centre_xy, size * 0.27, heart, light=light)


def _paint_blemishes(rng: np.random.Generator, painter: PlantPainter, state: str) -> None:
    if state == "diseased":
        painter.speckle(rng, int(rng.integers(10, 20)), 0.085, _shifted(rng, _RUST, 10))
        painter.speckle(rng, int(rng.integers(4, 9)), 0.06, (206, 190, 92))


def _leaf_colour(rng: np.random.Generator, green: Colour, state: str, *, old: bool) -> Colour:
    colour = _shifted(rng, green, 9)
    if state == "dry":
        return _mixed(colour, _shifted(rng, _STRAW, 14), rng.uniform(0.55, 0.95))
    if state == "diseased" and rng.uniform() < (0.45 if old else 0.2):
        return _mixed(colour, (190, 172, 60), rng.uniform(0.4, 0.8))
    return colour


def _shifted(rng: np.random.Generator, colour: Colour, amount: float) -> Colour:
    r, g, b = (float(np.clip(c + rng.uniform(-amount, amount), 0, 255)) for c in colour)
    return r, g, b


def _brighter(colour: Colour, factor: float) -> Colour:
    return colour[0] * factor, colour[1] * factor, colour[2] * factor


def _mixed(one: Colour, other: Colour, share: float) -> Colour:
    r, g, b = (a + (c - a) * share for a, c in zip(one, other, strict=True))
    return r, g, b
