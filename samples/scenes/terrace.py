"""Draw the scenes of tenant-003: potted flowers on a terrace, some in bloom and some in bud."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from samples.scenes.clutter import hose, name_stakes, scatter
from samples.scenes.plant_painter import PlantPainter
from samples.scenes.plants import STATES, Species, paint_pot, potted, random_species
from samples.scenes.scene_builder import SceneBuilder, Sprite, make_sprite
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


def draw(rng: np.random.Generator, size_wh: tuple[int, int], plant_px: float, coverage: float) -> SceneBuilder:
    """Draw a scene with benches full of pots; `coverage` is the share of spots with a plant."""
    light = rng.uniform(0, math.tau)
    angle = rng.uniform(-0.2, 0.2)
    background = soil(rng, size_wh, plant_px * 0.5, _GRAVELS[int(rng.integers(len(_GRAVELS)))])
    builder = SceneBuilder(background, light, rng.uniform(0.08, 0.18))
    if rng.uniform() < 0.4:
        hose(rng, builder, plant_px)
    scatter(rng, builder, plant_px, weeds=rng.uniform(0, 1.5), stones=rng.uniform(0, 6))
    builder.flatten()
    benches = _benches(rng, size_wh, plant_px)
    wood = boards(
        rng,
        size_wh,
        plant_px * rng.uniform(0.5, 1.2),
        angle,
        _WOODS[int(rng.integers(len(_WOODS)))],
    )
    for corners in benches:
        polygon = _to_image(corners, angle, size_wh)
        _draw_bench(builder, wood, polygon, plant_px)
        builder.add_segment("bench", 0, polygon)
    _place_pots(rng, builder, benches, angle=angle, plant_px=plant_px, coverage=coverage)
    if rng.uniform() < 0.4:
        name_stakes(rng, builder, plant_px * 0.5, int(rng.integers(1, 4)))
    return builder


def _benches(rng: np.random.Generator, size_wh: tuple[int, int], plant_px: float) -> list[Floats]:
    """Return the corners of each bench (4, 2) in the terrace's frame, with its origin in the centre."""
    reach = math.hypot(*size_wh) / 2
    rows = int(rng.integers(2, 6))
    bench, aisle = rows * plant_px * 1.25, plant_px * rng.uniform(0.5, 1.8)
    long = plant_px * rng.uniform(6, 22)
    sprites = []
    top = -reach - rng.uniform(0, bench)
    while top < reach:
        left = -reach - rng.uniform(0, long)
        while left < reach:
            x2, y2 = left + long, top + bench
            sprites.append(np.array([[left, top], [x2, top], [x2, y2], [left, y2]], np.float32))
            left = x2 + aisle
        top += bench + aisle
    return sprites


def _to_image(points: Floats, angle: float, size_wh: tuple[int, int]) -> Floats:
    cos, sin = math.cos(angle), math.sin(angle)
    rotation = np.array([[cos, sin], [-sin, cos]], np.float32)
    return (points @ rotation + np.array(size_wh, np.float32) / 2).astype(np.float32)


def _draw_bench(builder: SceneBuilder, wood: Pixels, polygon: Floats, plant_px: float) -> None:
    """Cut one bench out of the boards, and draw it with its shadow."""
    width, height = builder.size_wh
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
    shift = (round(-off * math.cos(builder.light)), round(-off * math.sin(builder.light)))
    shade.paste(mask, shift)
    shade = shade.filter(ImageFilter.GaussianBlur(off * 0.6)).point([v // 2 for v in range(256)])
    at = (int(low[0]), int(low[1]))
    builder.picture.paste((12, 12, 14), at, shade)
    piece = Image.fromarray(np.ascontiguousarray(wood[low[1] : high[1], low[0] : high[0]]))
    builder.picture.paste(piece, at, mask)
    rim = max(1, round(plant_px * 0.05))
    ImageDraw.Draw(builder.picture).polygon(
        [(float(x), float(y)) for x, y in polygon], outline=(58, 46, 36), width=rim
    )


def _place_pots(
    rng: np.random.Generator,
    builder: SceneBuilder,
    benches: list[Floats],
    *,
    angle: float,
    plant_px: float,
    coverage: float,
) -> None:
    """Place pots on the benches: only pots with a plant are objects of the ground truth."""
    width, height = builder.size_wh
    pot = _POTS[int(rng.integers(len(_POTS)))]
    kinds = [random_species(rng) for _ in range(int(rng.integers(1, 4)))]
    sprite_sets = [_sprites_by_state(rng, kind, plant_px, builder.light, pot) for kind in kinds]
    empty_pots = _empty_pots(rng, plant_px, builder.light, pot)
    for corners in benches:
        sprites = sprite_sets[int(rng.integers(len(sprite_sets)))]
        early = rng.uniform(0.1, 0.9)
        (x1, y1), (x2, y2) = corners[0], corners[2]
        columns, rows = (max(1, int(side / (plant_px * 1.17))) for side in (x2 - x1, y2 - y1))
        xs = x1 + (np.arange(columns) + 0.5) * (x2 - x1) / columns
        ys = y1 + (np.arange(rows) + 0.5) * (y2 - y1) / rows
        spots = np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2)
        spots = spots + rng.uniform(-0.06, 0.06, spots.shape) * plant_px
        for x, y in _to_image(spots.astype(np.float32), angle, builder.size_wh).tolist():
            if not (-plant_px < x < width + plant_px and -plant_px < y < height + plant_px):
                continue
            if rng.uniform() >= coverage:
                if rng.uniform() < 0.4:
                    builder.add_sprite(empty_pots[int(rng.integers(len(empty_pots)))], (x, y))
                continue
            stage = IN_BUD if rng.uniform() < early else IN_BLOOM
            state = STATES[int(rng.integers(1, 3))] if rng.uniform() < 0.12 else STATES[0]
            choice = sprites[stage, state]
            builder.add_sprite(choice[int(rng.integers(len(choice)))], (x, y), (stage, state))


def _sprites_by_state(
    rng: np.random.Generator, kind: Species, plant_px: float, light: float, pot: Colour
) -> dict[tuple[int, str], list[Sprite]]:
    side = max(64, min(256, round(plant_px * 2)))
    sprites = {}
    for stage in (IN_BLOOM, IN_BUD):
        for state, variants, copies in zip(STATES, (6, 2, 2), (26, 6, 6), strict=True):
            pictures = [
                potted(rng, kind, state, side, light, blooming=stage == IN_BLOOM, pot=pot) for _ in range(variants)
            ]
            sprites[stage, state] = [
                make_sprite(pictures[i % variants], plant_px * size, rng.uniform(0, 360), 0.05)
                for i, size in enumerate(rng.uniform(0.8, 1.12, copies).tolist())
            ]
    return sprites


def _empty_pots(rng: np.random.Generator, plant_px: float, light: float, pot: Colour) -> list[Sprite]:
    side = max(48, min(220, round(plant_px * 2)))
    sprites = []
    for _ in range(4):
        painter = PlantPainter(side)
        paint_pot(rng, painter, pot, light, 0.74)
        sprites.append(make_sprite(painter.image(), plant_px, rng.uniform(0, 360), 0.05))
    return sprites
