"""Draw the scenes of tenant-001: raised beds of leafy crops in a field, with paths between them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from samples.scenes.clutter import hose, name_stakes, scatter
from samples.scenes.plants import STATES, Species, random_species, rosette
from samples.scenes.scene_builder import SceneBuilder, Sprite, bevel, make_sprite
from samples.scenes.textures import Colour, noise, soil

if TYPE_CHECKING:
    from samples.scenes.scene import Floats, Pixels

_BED_SOILS: tuple[tuple[Colour, ...], ...] = (
    ((22, 14, 10), (68, 47, 34), (112, 82, 60), (158, 124, 94)),
    ((24, 20, 18), (62, 52, 46), (98, 86, 76), (146, 132, 118)),
    ((40, 20, 12), (98, 58, 38), (140, 90, 62), (182, 136, 104)),
)
_PATHS: tuple[tuple[Colour, ...], ...] = (
    ((62, 48, 36), (132, 110, 84), (168, 146, 116), (206, 188, 160)),
    ((70, 66, 60), (136, 130, 122), (166, 160, 152), (212, 208, 200)),
    ((72, 56, 30), (150, 124, 74), (190, 164, 108), (226, 206, 156)),
    ((30, 38, 20), (76, 86, 48), (112, 118, 72), (160, 158, 112)),
)


def draw(rng: np.random.Generator, size_wh: tuple[int, int], plant_px: float, coverage: float) -> SceneBuilder:
    """Draw a scene with beds and plants; `coverage` is the share of spots that are planted."""
    light = rng.uniform(0, math.tau)
    angle = rng.uniform(-0.16, 0.16) + (math.pi / 2 if rng.uniform() < 0.35 else 0.0)
    beds = _beds(rng, size_wh, plant_px, angle)
    polygons = [_to_image(corners, angle, size_wh) for corners in beds]
    background = _background(rng, size_wh, plant_px, polygons, light)
    builder = SceneBuilder(background, light, rng.uniform(0.06, 0.16))
    for polygon in polygons:
        builder.add_segment("bed", 0, polygon)
    if rng.uniform() < 0.4:
        hose(rng, builder, plant_px)
    scatter(rng, builder, plant_px, weeds=rng.uniform(0, 3), stones=rng.uniform(1, 9))
    _place_plants(rng, builder, beds, angle=angle, plant_px=plant_px, coverage=coverage)
    if rng.uniform() < 0.5:
        name_stakes(rng, builder, plant_px, int(rng.integers(1, 5)))
    return builder


def _beds(rng: np.random.Generator, size_wh: tuple[int, int], plant_px: float, angle: float) -> list[Floats]:
    """Return the corners of each bed (4, 2) in the field's frame: origin in the centre, x along the beds."""
    width, height = size_wh
    long = abs(width * math.cos(angle)) + abs(height * math.sin(angle))
    wide = abs(width * math.sin(angle)) + abs(height * math.cos(angle))
    rows = int(rng.integers(2, 7))
    pitch = plant_px * rng.uniform(1.08, 1.5)
    bed, path = rows * pitch + plant_px * rng.uniform(0.2, 0.7), plant_px * rng.uniform(0.9, 2.2)
    beds = []
    top = -wide / 2 - rng.uniform(0, bed)
    while top < wide / 2:
        x1, x2 = -long, long
        if rng.uniform() < 0.3:
            x1 = -long / 2 + long * rng.uniform(0.03, 0.35)
        if rng.uniform() < 0.3:
            x2 = long / 2 - long * rng.uniform(0.03, 0.35)
        low = top + bed
        beds.append(np.array([[x1, top], [x2, top], [x2, low], [x1, low]], np.float32))
        top += bed + path
    return beds


def _to_image(points: Floats, angle: float, size_wh: tuple[int, int]) -> Floats:
    """Transform points (k, 2) from the field's frame to image px."""
    cos, sin = math.cos(angle), math.sin(angle)
    rotation = np.array([[cos, sin], [-sin, cos]], np.float32)
    return (points @ rotation + np.array(size_wh, np.float32) / 2).astype(np.float32)


def _background(
    rng: np.random.Generator,
    size_wh: tuple[int, int],
    plant_px: float,
    polygons: list[Floats],
    light: float,
) -> Pixels:
    """Return the background (h, w, 3): paths, and raised beds of darker soil with crumbling edges."""
    path = soil(rng, size_wh, plant_px, _PATHS[int(rng.integers(len(_PATHS)))])
    bed = soil(rng, size_wh, plant_px * 0.8, _BED_SOILS[int(rng.integers(len(_BED_SOILS)))])
    mask = Image.new("L", size_wh)
    pen = ImageDraw.Draw(mask)
    for polygon in polygons:
        pen.polygon([(float(x), float(y)) for x, y in polygon], 255)
    blurred = mask.filter(ImageFilter.GaussianBlur(max(0.8, plant_px * 0.09)))
    crumbs = noise(rng, size_wh, max(1.6, plant_px * 0.16)).astype(np.int16) - 128
    sharp = (np.asarray(blurred).astype(np.int16) - 128) * 3 + crumbs + 128
    mask = Image.fromarray(np.clip(sharp, 0, 255).astype(np.uint8))
    background = Image.composite(Image.fromarray(bed), Image.fromarray(path), mask)
    lit_rim, dark_rim = bevel(blurred, light, max(1.0, plant_px * 0.14))
    background.paste((236, 214, 180), (0, 0), lit_rim.point([v // 4 for v in range(256)]))
    background.paste((12, 9, 8), (0, 0), dark_rim.point([v * 5 // 8 for v in range(256)]))
    return np.asarray(background)


def _place_plants(
    rng: np.random.Generator,
    builder: SceneBuilder,
    beds: list[Floats],
    *,
    angle: float,
    plant_px: float,
    coverage: float,
) -> None:
    """Place the plants of every bed in rows; each bed has one crop."""
    width, height = builder.size_wh
    kinds = [random_species(rng) for _ in range(int(rng.integers(1, 4)))]
    sprite_sets = [_sprites_by_state(rng, kind, plant_px, builder.light) for kind in kinds]
    for corners in beds:
        sprites = sprite_sets[int(rng.integers(len(sprite_sets)))]
        growth = rng.uniform(0.82, 1.0)
        (x1, y1), (x2, y2) = corners[0], corners[2]
        pitch = plant_px * rng.uniform(1.05, 1.6)
        rows = max(1, round((y2 - y1 - plant_px * 0.1) / (plant_px * rng.uniform(1.08, 1.4))))
        shift = rng.uniform(0, 0.5) if rng.uniform() < 0.5 else 0.0
        sickly = rng.uniform(0.0, 0.5)
        for row in range(rows):
            y = y1 + (row + 0.5) * (y2 - y1) / rows
            xs = np.arange(x1 + plant_px * 0.6, x2 - plant_px * 0.5, pitch)
            spots = np.stack([xs + shift * pitch * (row % 2), np.full(len(xs), y)], 1)
            spots = spots + rng.uniform(-0.09, 0.09, spots.shape) * plant_px
            taken = rng.uniform(size=len(xs)) < coverage
            for x, y_px in _to_image(spots.astype(np.float32), angle, builder.size_wh)[taken]:
                if not (-plant_px < x < width + plant_px and -plant_px < y_px < height + plant_px):
                    continue
                state = STATES[int(rng.integers(1, 3))] if rng.uniform() < sickly else STATES[0]
                choice = sprites[state]
                reach = len(choice) if growth > 0.9 else len(choice) // 2
                sprite = choice[int(rng.integers(reach))]
                builder.add_sprite(sprite, (float(x), float(y_px)), (0, state))


def _sprites_by_state(
    rng: np.random.Generator, kind: Species, plant_px: float, light: float
) -> dict[str, list[Sprite]]:
    """Return the sprites of plants by state, small ones first."""
    side = max(48, min(220, round(plant_px * 2)))
    sprites = {}
    for state, variants, copies in zip(STATES, (7, 4, 4), (36, 14, 14), strict=True):
        pictures = [rosette(rng, kind, state, side, light) for _ in range(variants)]
        sizes = np.sort(rng.uniform(0.68, 1.14, copies)) * plant_px
        sprites[state] = [
            make_sprite(pictures[i % variants], float(size), rng.uniform(0, 360), 0.05)
            for i, size in enumerate(sizes)
        ]
    return sprites
