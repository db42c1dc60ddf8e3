"""Things that lie about in a nursery and must not be found: weeds, stones, hoses, labels."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from samples.scenes.canvas import Canvas, sprite
from samples.scenes.plants import grass, pebble


def scatter(
    rng: np.random.Generator,
    canvas: Canvas,
    unit_px: float,
    *,
    weeds: float,
    stones: float,
) -> None:
    """Strew weeds and stones; the rates are how many there are per hundred plant areas."""
    width, height = canvas.size_wh
    spots = width * height / (unit_px * unit_px * 100)
    for rate, drawn, low, high, tall in (
        (weeds, grass, 0.5, 1.1, 0.04),
        (stones, pebble, 0.08, 0.4, 0.08),
    ):
        number = min(int(spots * rate * rng.uniform(0.3, 1.4)), 900)
        side = max(24, min(160, round(unit_px * 2)))
        masters = [drawn(rng, side, canvas.light) for _ in range(min(8, number))]
        bank = [
            sprite(
                masters[int(rng.integers(len(masters)))],
                unit_px * rng.uniform(low, high),
                rng.uniform(0, 360),
                0.03,
            )
            for _ in range(min(24, number))
        ]
        for _ in range(number):
            at = (rng.uniform(0, width), rng.uniform(0, height))
            canvas.put(bank[int(rng.integers(len(bank)))], at, height=tall)


def hose(rng: np.random.Generator, canvas: Canvas, unit_px: float) -> None:
    """Lay a watering hose across the picture, with its shadow and its shine."""
    width, height = canvas.size_wh
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
    shade = Image.new("L", canvas.size_wh)
    lower = [(x - off * math.cos(canvas.light), y - off * math.sin(canvas.light)) for x, y in points]
    ImageDraw.Draw(shade).line(lower, 120, thick, "curve")
    canvas.picture.paste((16, 14, 16), (0, 0), shade.filter(ImageFilter.GaussianBlur(thick / 3)))
    pen = ImageDraw.Draw(canvas.picture)
    pen.line(points, colour, thick, "curve")
    shine = tuple(min(255, c + 60) for c in colour)
    upper = [
        (x + thick * 0.18 * math.cos(canvas.light), y + thick * 0.18 * math.sin(canvas.light)) for x, y in points
    ]
    pen.line(upper, shine, max(1, thick // 5), "curve")


def name_stakes(rng: np.random.Generator, canvas: Canvas, unit_px: float, number: int) -> None:
    """Stick plastic plant labels into the ground, seen from above as short bright bars."""
    width, height = canvas.size_wh
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
        canvas.put(sprite(bar, side, rng.uniform(0, 360), 0.05), at, height=0.12)
