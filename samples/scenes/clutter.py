"""Draw objects that must not be detected: weeds, stones, hoses and plant labels."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from samples.scenes.plants import grass, pebble
from samples.scenes.scene_builder import SceneBuilder, make_sprite


def scatter(
    rng: np.random.Generator,
    builder: SceneBuilder,
    unit_px: float,
    *,
    weeds: float,
    stones: float,
) -> None:
    """Scatter weeds and stones; the rates are their numbers per hundred plant areas."""
    width, height = builder.size_wh
    spots = width * height / (unit_px * unit_px * 100)
    for items_per_spot, draw_item, low, high, tall in (
        (weeds, grass, 0.5, 1.1, 0.04),
        (stones, pebble, 0.08, 0.4, 0.08),
    ):
        number = min(int(spots * items_per_spot * rng.uniform(0.3, 1.4)), 900)
        side = max(24, min(160, round(unit_px * 2)))
        variants = [draw_item(rng, side, builder.light) for _ in range(min(8, number))]
        sprites = [
            make_sprite(
                variants[int(rng.integers(len(variants)))],
                unit_px * rng.uniform(low, high),
                rng.uniform(0, 360),
                0.03,
            )
            for _ in range(min(24, number))
        ]
        for _ in range(number):
            at = (rng.uniform(0, width), rng.uniform(0, height))
            builder.add_sprite(sprites[int(rng.integers(len(sprites)))], at, height=tall)


def hose(rng: np.random.Generator, builder: SceneBuilder, unit_px: float) -> None:
    """Draw a watering hose across the picture, with its shadow and its highlight."""
    width, height = builder.size_wh
    thick = max(2, round(unit_px * rng.uniform(0.16, 0.3)))
    steps = np.linspace(-0.1, 1.1, 60)
    swing = rng.uniform(0.03, 0.12) * min(width, height)
    waves, phase = rng.uniform(0.6, 1.6), rng.uniform(0, math.tau)
    start, end = rng.uniform(0.1, 0.9, 2)
    wave = swing * np.sin(waves * math.tau * steps + phase)
    if rng.uniform() < 0.5:
        xs, ys = steps * width, (start + (end - start) * steps) * height + wave
    else:
        xs, ys = (start + (end - start) * steps) * width + wave, steps * height
    points = [(float(x), float(y)) for x, y in zip(xs, ys, strict=True)]
    colours = ((52, 120, 74), (40, 42, 46), (190, 150, 44), (46, 88, 140))
    colour = colours[int(rng.integers(len(colours)))]
    off = thick * 0.5
    shade = Image.new("L", builder.size_wh)
    lower = [(x - off * math.cos(builder.light), y - off * math.sin(builder.light)) for x, y in points]
    ImageDraw.Draw(shade).line(lower, 120, thick, "curve")
    builder.picture.paste((16, 14, 16), (0, 0), shade.filter(ImageFilter.GaussianBlur(thick / 3)))
    pen = ImageDraw.Draw(builder.picture)
    pen.line(points, colour, thick, "curve")
    shine = tuple(min(255, c + 60) for c in colour)
    upper = [
        (x + thick * 0.18 * math.cos(builder.light), y + thick * 0.18 * math.sin(builder.light)) for x, y in points
    ]
    pen.line(upper, shine, max(1, thick // 5), "curve")


def name_stakes(rng: np.random.Generator, builder: SceneBuilder, unit_px: float, number: int) -> None:
    """Draw plastic plant labels, which look like short bright bars from above."""
    width, height = builder.size_wh
    for _ in range(number):
        length, wide = unit_px * rng.uniform(0.5, 0.9), max(1.5, unit_px * 0.16)
        side = max(6, round(length * 1.3))
        bar = Image.new("RGBA", (side * 2, side * 2))
        middle = side
        colours = ((236, 234, 226), (240, 210, 70), (226, 120, 80))
        colour = (*colours[int(rng.integers(len(colours)))], 255)
        box = (middle - length, middle - wide, middle + length, middle + wide)
        ImageDraw.Draw(bar).rounded_rectangle(box, wide * 0.6, colour)
        at = (rng.uniform(0, width), rng.uniform(0, height))
        builder.add_sprite(make_sprite(bar, side, rng.uniform(0, 360), 0.05), at, height=0.12)
