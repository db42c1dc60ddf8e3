"""Tenant 003's world: potted flowers on a terrace, some in bloom and some still in bud."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from samples.scenes.canvas import Canvas, Sprite, sprite
from samples.scenes.clutter import hose, name_stakes, scatter
from samples.scenes.leaves import Easel
from samples.scenes.plants import STATES, Species, empty_pot, potted, species
from samples.scenes.textures import Colour, boards, soil

if TYPE_CHECKING:
    from samples.scenes.scene import Floats, Pixels

IN_BLOOM, IN_BUD = 0, 1

_POTS: tuple[Colour, ...] = ((186, 104, 70), (168, 90, 62), (62, 62, 66), (204, 198, 188))
_WOODS: tuple[tuple[Colour, ...], ...] = (
    ((44, 30, 20), (122, 88, 58), (162, 122, 84), (200, 164, 122)),
    ((64, 60, 56), (136, 130, 122), (168, 162, 154), (206, 202, 194)),
)
_GRAVELS: tuple[tuple[Colour, ...], ...] = (
    ((58, 54, 50), (136, 130, 122), (178, 172, 164), (226, 222, 214)),
    ((66, 50, 36), (148, 122, 94), (184, 158, 126), (224, 204, 176)),
)


def draw(rng: np.random.Generator, size_wh: tuple[int, int], plant_px: float, coverage: float) -> Canvas:
    """A canvas with benches full of pots; `coverage` is the share of spots that hold a plant."""
    light = rng.uniform(0, math.tau)
    angle = rng.uniform(-0.2, 0.2)
    ground = soil(rng, size_wh, plant_px * 0.5, _GRAVELS[int(rng.integers(len(_GRAVELS)))])
    canvas = Canvas(ground, light, rng.uniform(0.08, 0.18))
    if rng.uniform() < 0.4:
        hose(rng, canvas, plant_px)
    scatter(rng, canvas, plant_px, weeds=rng.uniform(0, 1.5), stones=rng.uniform(0, 6))
    canvas.flatten()
    benches = _benches(rng, size_wh, plant_px)
    wood = boards(
        rng,
        size_wh,
        plant_px * rng.uniform(0.5, 1.2),
        angle,
        _WOODS[int(rng.integers(len(_WOODS)))],
    )
    for corners in benches:
        polygon = _turned(corners, angle, size_wh)
        _lay(canvas, wood, polygon, plant_px)
        canvas.area("bench", 0, polygon)
    _arrange(rng, canvas, benches, angle=angle, plant_px=plant_px, coverage=coverage)
    if rng.uniform() < 0.4:
        name_stakes(rng, canvas, plant_px * 0.5, int(rng.integers(1, 4)))
    return canvas


def _benches(rng: np.random.Generator, size_wh: tuple[int, int], plant_px: float) -> list[Floats]:
    """Each (4, 2) corners in the terrace's own frame, origin in the middle of the image."""
    reach = math.hypot(*size_wh) / 2
    rows = int(rng.integers(2, 6))
    bench, aisle = rows * plant_px * 1.25, plant_px * rng.uniform(0.5, 1.8)
    long = plant_px * rng.uniform(6, 22)
    found = []
    top = -reach - rng.uniform(0, bench)
    while top < reach:
        left = -reach - rng.uniform(0, long)
        while left < reach:
            x2, y2 = left + long, top + bench
            found.append(np.array([[left, top], [x2, top], [x2, y2], [left, y2]], np.float32))
            left = x2 + aisle
        top += bench + aisle
    return found


def _turned(points: Floats, angle: float, size_wh: tuple[int, int]) -> Floats:
    cos, sin = math.cos(angle), math.sin(angle)
    turn = np.array([[cos, sin], [-sin, cos]], np.float32)
    return (points @ turn + np.array(size_wh, np.float32) / 2).astype(np.float32)


def _lay(canvas: Canvas, wood: Pixels, polygon: Floats, plant_px: float) -> None:
    """Cut one bench out of the boards and put it on the ground, with its shadow."""
    width, height = canvas.size_wh
    off = plant_px * 0.22
    pad = math.ceil(off * 3)
    low = np.maximum(np.floor(polygon.min(0)) - pad, 0).astype(int)
    high = np.minimum(np.ceil(polygon.max(0)) + pad, (width, height)).astype(int)
    if (high <= low).any():
        return
    points = [(float(x - low[0]), float(y - low[1])) for x, y in polygon]
    mask = Image.new("L", (int(high[0] - low[0]), int(high[1] - low[1])))
    ImageDraw.Draw(mask).polygon(points, 255)
    shade = Image.new("L", mask.size)
    shift = (round(-off * math.cos(canvas.light)), round(-off * math.sin(canvas.light)))
    shade.paste(mask, shift)
    shade = shade.filter(ImageFilter.GaussianBlur(off * 0.6)).point([v // 2 for v in range(256)])
    at = (int(low[0]), int(low[1]))
    canvas.picture.paste((12, 12, 14), at, shade)
    piece = Image.fromarray(np.ascontiguousarray(wood[low[1] : high[1], low[0] : high[0]]))
    canvas.picture.paste(piece, at, mask)
    rim = max(1, round(plant_px * 0.05))
    ImageDraw.Draw(canvas.picture).polygon(
        [(float(x), float(y)) for x, y in polygon], outline=(58, 46, 36), width=rim
    )


def _arrange(
    rng: np.random.Generator,
    canvas: Canvas,
    benches: list[Floats],
    *,
    angle: float,
    plant_px: float,
    coverage: float,
) -> None:
    """Put pots on the benches: planted ones are the truth, bare ones are not."""
    width, height = canvas.size_wh
    pot = _POTS[int(rng.integers(len(_POTS)))]
    kinds = [species(rng) for _ in range(int(rng.integers(1, 4)))]
    banks = [_bank(rng, kind, plant_px, canvas.light, pot) for kind in kinds]
    bare = _bare(rng, plant_px, canvas.light, pot)
    for corners in benches:
        bank = banks[int(rng.integers(len(banks)))]
        early = rng.uniform(0.1, 0.9)
        (x1, y1), (x2, y2) = corners[0], corners[2]
        columns, rows = (max(1, int(side / (plant_px * 1.17))) for side in (x2 - x1, y2 - y1))
        xs = x1 + (np.arange(columns) + 0.5) * (x2 - x1) / columns
        ys = y1 + (np.arange(rows) + 0.5) * (y2 - y1) / rows
        spots = np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2)
        spots = spots + rng.uniform(-0.06, 0.06, spots.shape) * plant_px
        for x, y in _turned(spots.astype(np.float32), angle, canvas.size_wh).tolist():
            if not (-plant_px < x < width + plant_px and -plant_px < y < height + plant_px):
                continue
            if rng.uniform() >= coverage:
                if rng.uniform() < 0.4:
                    canvas.put(bare[int(rng.integers(len(bare)))], (x, y))
                continue
            stage = IN_BUD if rng.uniform() < early else IN_BLOOM
            state = STATES[int(rng.integers(1, 3))] if rng.uniform() < 0.12 else STATES[0]
            choice = bank[stage, state]
            canvas.put(choice[int(rng.integers(len(choice)))], (x, y), (stage, state))


def _bank(
    rng: np.random.Generator, kind: Species, plant_px: float, light: float, pot: Colour
) -> dict[tuple[int, str], list[Sprite]]:
    side = max(64, min(256, round(plant_px * 2)))
    bank = {}
    for stage in (IN_BLOOM, IN_BUD):
        for state, masters, copies in zip(STATES, (6, 2, 2), (26, 6, 6), strict=True):
            pictures = [
                potted(rng, kind, state, side, light, blooming=stage == IN_BLOOM, pot=pot) for _ in range(masters)
            ]
            bank[stage, state] = [
                sprite(pictures[i % masters], plant_px * size, rng.uniform(0, 360), 0.05)
                for i, size in enumerate(rng.uniform(0.8, 1.12, copies).tolist())
            ]
    return bank


def _bare(rng: np.random.Generator, plant_px: float, light: float, pot: Colour) -> list[Sprite]:
    side = max(48, min(220, round(plant_px * 2)))
    found = []
    for _ in range(4):
        easel = Easel(side)
        empty_pot(rng, easel, pot, light, 0.74)
        found.append(sprite(easel.image(), plant_px, rng.uniform(0, 360), 0.05))
    return found
