"""Draw the scenes of tenant-002: trays of seedlings on a greenhouse bench, some cells empty."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from samples.scenes.clutter import hose, name_stakes, scatter
from samples.scenes.plants import STATES, random_species, seedling
from samples.scenes.scene_builder import SceneBuilder, Sprite, make_sprite
from samples.scenes.textures import Colour, boards, fractal, ramp, soil, stretched, weave

if TYPE_CHECKING:
    from samples.scenes.scene import Floats, Pixels

SEEDLING, EMPTY_CELL = 0, 1

_BENCHES: tuple[tuple[Colour, ...], ...] = (
    ((92, 96, 98), (158, 163, 164), (194, 198, 198), (228, 230, 228)),
    ((64, 44, 28), (134, 100, 68), (172, 136, 98), (204, 174, 136)),
    ((58, 70, 66), (108, 122, 116), (140, 154, 148), (188, 198, 192)),
)
_CONCRETE: tuple[Colour, ...] = ((96, 94, 90), (150, 147, 141), (176, 173, 166), (214, 212, 206))
_PLASTICS: tuple[Colour, ...] = (
    (44, 45, 48),
    (62, 64, 68),
    (40, 58, 50),
    (96, 64, 48),
    (206, 206, 200),
)
_PEATS: tuple[tuple[Colour, ...], ...] = (
    ((18, 13, 10), (52, 38, 29), (84, 62, 46), (124, 98, 76)),
    ((34, 22, 14), (88, 58, 38), (120, 84, 58), (160, 124, 92)),
)


@dataclass(frozen=True)
class Tray:
    """The position of a tray: its centre in image px, its grid of cells, and its rotation."""

    centre_xy: tuple[float, float]
    columns: int
    rows: int
    cell_px: float
    angle: float

    @property
    def rim_px(self) -> float:
        """The width of the rim around the cells."""
        return self.cell_px * 0.3

    @property
    def size_wh(self) -> tuple[float, float]:
        """Width and height before rotation, with the rim."""
        rim = 2 * self.rim_px
        return self.columns * self.cell_px + rim, self.rows * self.cell_px + rim

    def to_image(self, points: Floats) -> Floats:
        """Transform points (k, 2) from the tray's frame, with its origin in the centre, to image px."""
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        rotation = np.array([[cos, sin], [-sin, cos]], np.float32)
        return (points @ rotation + np.array(self.centre_xy, np.float32)).astype(np.float32)

    def cells(self) -> Floats:
        """Return the centres of the cells (rows * columns, 2), image px."""
        xs = (np.arange(self.columns) - (self.columns - 1) / 2) * self.cell_px
        ys = (np.arange(self.rows) - (self.rows - 1) / 2) * self.cell_px
        grid = np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2)
        return self.to_image(grid.astype(np.float32))

    def corners(self) -> Floats:
        """Return the corners (4, 2), image px."""
        x, y = self.size_wh[0] / 2, self.size_wh[1] / 2
        return self.to_image(np.array([[-x, -y], [x, -y], [x, y], [-x, y]], np.float32))


def draw(rng: np.random.Generator, size_wh: tuple[int, int], plant_px: float, coverage: float) -> SceneBuilder:
    """Draw a scene with trays; `coverage` is the share of cells with a seedling."""
    light = rng.uniform(0, math.tau)
    cell_px = plant_px * rng.uniform(1.05, 1.35)
    trays = _trays(rng, size_wh, cell_px)
    builder = SceneBuilder(_bench(rng, size_wh, plant_px), light, rng.uniform(0.05, 0.13))
    if rng.uniform() < 0.3:
        hose(rng, builder, plant_px)
    scatter(rng, builder, plant_px, weeds=0.0, stones=rng.uniform(0, 3))
    builder.flatten()
    _draw_trays(rng, builder, trays)
    _place_seedlings(rng, builder, trays, plant_px, coverage)
    if rng.uniform() < 0.5:
        name_stakes(rng, builder, plant_px, int(rng.integers(1, 5)))
    return builder


def _trays(rng: np.random.Generator, size_wh: tuple[int, int], cell_px: float) -> list[Tray]:
    width, height = size_wh
    columns, rows = int(rng.integers(4, 11)), int(rng.integers(3, 8))
    if rng.uniform() < 0.5:
        columns, rows = rows, columns
    angle = rng.uniform(-0.14, 0.14)
    pattern = Tray((0.0, 0.0), columns, rows, cell_px, angle)
    step_x = pattern.size_wh[0] + cell_px * rng.uniform(0.2, 1.2)
    step_y = pattern.size_wh[1] + cell_px * rng.uniform(0.2, 1.2)
    reach = math.hypot(width, height) / 2
    across, down = int(reach / step_x) + 2, int(reach / step_y) + 2
    offset = rng.uniform(-0.5, 0.5, 2) * (step_x, step_y)
    frame = Tray((width / 2, height / 2), 1, 1, cell_px, angle)
    trays = []
    for i in range(-across, across + 1):
        for j in range(-down, down + 1):
            jitter = rng.uniform(-0.07, 0.07, 2) * cell_px
            spot = np.array([[i * step_x, j * step_y]], np.float32) + offset + jitter
            x, y = frame.to_image(spot.astype(np.float32))[0]
            wobble = rng.uniform(-0.006, 0.006)
            if rng.uniform() < 0.08:
                continue
            tray = Tray((float(x), float(y)), columns, rows, cell_px, angle + wobble)
            low, high = tray.corners().min(0), tray.corners().max(0)
            if high.min() > 0 and low[0] < width and low[1] < height:
                trays.append(tray)
    return trays


def _bench(rng: np.random.Generator, size_wh: tuple[int, int], plant_px: float) -> Pixels:
    kind = rng.integers(4)
    if kind == 0:
        return weave(rng, size_wh, plant_px * 0.09, ((14, 15, 15), (46, 48, 48), (84, 87, 86)))
    if kind == 1:
        return soil(rng, size_wh, plant_px * 0.6, _CONCRETE)
    stops = _BENCHES[int(rng.integers(len(_BENCHES)))]
    rotation = rng.uniform(-0.12, 0.12) + (math.pi / 2 if rng.uniform() < 0.5 else 0.0)
    return boards(rng, size_wh, plant_px * rng.uniform(0.9, 2.6), rotation, stops)


def _draw_trays(rng: np.random.Generator, builder: SceneBuilder, trays: list[Tray]) -> None:
    """Draw the trays, which look alike within a scene."""
    if not trays:
        return
    first = trays[0]
    plastic = _PLASTICS[int(rng.integers(len(_PLASTICS)))]
    picture = _tray_picture(rng, first, plastic, builder.light)
    soft = max(1.0, first.cell_px * 0.1)
    off = first.cell_px * 0.12
    for tray in trays:
        rotated = picture.rotate(-math.degrees(tray.angle), Image.Resampling.BICUBIC, expand=True)
        x = round(tray.centre_xy[0] - rotated.width / 2)
        y = round(tray.centre_xy[1] - rotated.height / 2)
        margin = math.ceil(soft * 3)
        shade = Image.new("L", (rotated.width + 2 * margin, rotated.height + 2 * margin))
        shade.paste(rotated.getchannel("A"), (margin, margin))
        shade = shade.filter(ImageFilter.GaussianBlur(soft)).point([v * 5 // 8 for v in range(256)])
        dx, dy = round(off * math.cos(builder.light)), round(off * math.sin(builder.light))
        builder.picture.paste((10, 10, 12), (x - margin - dx, y - margin - dy), shade)
        builder.picture.paste(rotated, (x, y), rotated)
        builder.add_segment("tray", 0, tray.corners())


def _tray_picture(rng: np.random.Generator, tray: Tray, plastic: Colour, light: float) -> Image.Image:
    """Return one tray from above (RGBA), not rotated, its wells filled with peat and grains of perlite."""
    width, height = round(tray.size_wh[0]), round(tray.size_wh[1])
    scale = 2 if tray.cell_px < 60 else 1
    size_wh = (width * scale, height * scale)
    cell, rim = tray.cell_px * scale, tray.rim_px * scale
    peat = soil(rng, size_wh, cell * 0.5, _PEATS[int(rng.integers(len(_PEATS)))])
    perlite = fractal(rng, size_wh, [(max(1.0, cell * 0.05), 1)]) > 236
    peat = np.where(perlite[..., None], np.uint8(214), peat)
    gloss = stretched(fractal(rng, size_wh, [(cell * 3, 2), (1.0, 1)]))
    red, green, blue = plastic
    dark = (red * 0.8, green * 0.8, blue * 0.8)
    bright = (min(255.0, red * 1.25), min(255.0, green * 1.25), min(255.0, blue * 1.25))
    shell = Image.fromarray(np.take(ramp((dark, plastic, bright)), gloss, axis=0))
    wells, depth = Image.new("L", size_wh), Image.new("L", size_wh)
    pen, deep = ImageDraw.Draw(wells), ImageDraw.Draw(depth)
    round_wells, half = rng.uniform() < 0.3, cell * rng.uniform(0.40, 0.45)
    for row in range(tray.rows):
        for column in range(tray.columns):
            x, y = rim + (column + 0.5) * cell, rim + (row + 0.5) * cell
            for shape, reach in ((pen, half), (deep, half * 0.9)):
                box = (x - reach, y - reach, x + reach, y + reach)
                if round_wells:
                    shape.ellipse(box, 255)
                else:
                    shape.rounded_rectangle(box, half * 0.25, 255)
    off = cell * 0.07
    shift = (round(-off * math.cos(light)), round(-off * math.sin(light)))
    soft = depth.filter(ImageFilter.GaussianBlur(cell * 0.05))
    inside = Image.new("L", size_wh)
    inside.paste(soft, shift)
    background = Image.composite(Image.fromarray(peat), Image.new("RGB", size_wh, (9, 8, 8)), inside)
    shell.paste(background, (0, 0), wells)
    ridge = wells.filter(ImageFilter.GaussianBlur(cell * 0.03))
    shell.paste((255, 255, 255), (-shift[0] // 2, -shift[1] // 2), _edge(ridge, wells))
    outline = Image.new("L", size_wh)
    frame = (0, 0, size_wh[0] - 1, size_wh[1] - 1)
    ImageDraw.Draw(outline).rounded_rectangle(frame, rim * 0.9, 255)
    shell.putalpha(outline)
    return shell.resize((width, height), Image.Resampling.BOX) if scale > 1 else shell


def _edge(ridge: Image.Image, wells: Image.Image) -> Image.Image:
    """Return the mask (L) of a faint gleam around the wells."""
    outside = np.asarray(ridge).astype(np.int16) * (np.asarray(wells) == 0)
    return Image.fromarray((outside // 3).astype(np.uint8))


def _place_seedlings(
    rng: np.random.Generator,
    builder: SceneBuilder,
    trays: list[Tray],
    plant_px: float,
    coverage: float,
) -> None:
    """Place a seedling in most cells, and record the others as empty cells."""
    width, height = builder.size_wh
    sprite_sets = [_sprites_by_state(rng, plant_px, builder.light) for _ in range(int(rng.integers(1, 3)))]
    for tray in trays:
        sprites = sprite_sets[int(rng.integers(len(sprite_sets)))]
        sickly = rng.uniform(0.0, 0.4)
        bare = min(1.0, (1.0 - coverage) * rng.uniform(0.3, 1.7)) if coverage else 1.0
        half = tray.cell_px * 0.45 * (abs(math.cos(tray.angle)) + abs(math.sin(tray.angle)) * 0.7)
        for x, y in tray.cells().tolist():
            if not (-plant_px < x < width + plant_px and -plant_px < y < height + plant_px):
                continue
            if rng.uniform() < bare:
                builder.add_object((x - half, y - half, x + half, y + half), EMPTY_CELL, "")
                continue
            state = STATES[int(rng.integers(1, 3))] if rng.uniform() < sickly else STATES[0]
            choice = sprites[state]
            at = rng.uniform(-0.1, 0.1, 2) * tray.cell_px
            sprite = choice[int(rng.integers(len(choice)))]
            builder.add_sprite(sprite, (x + float(at[0]), y + float(at[1])), (SEEDLING, state))


def _sprites_by_state(rng: np.random.Generator, plant_px: float, light: float) -> dict[str, list[Sprite]]:
    side = max(48, min(220, round(plant_px * 2)))
    kind = random_species(rng)
    sprites = {}
    for state, variants, copies in zip(STATES, (12, 5, 5), (48, 14, 14), strict=True):
        pictures = [seedling(rng, kind, state, side, light) for _ in range(variants)]
        sprites[state] = [
            make_sprite(pictures[i % variants], plant_px * size, rng.uniform(0, 360), 0.05)
            for i, size in enumerate(rng.uniform(0.6, 1.15, copies).tolist())
        ]
    return sprites
