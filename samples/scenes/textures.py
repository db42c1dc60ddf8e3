"""Draw surfaces as arrays of pixels: noise, soil, boards and woven ground cover."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Sequence

    from samples.scenes.scene import Pixels

Colour = tuple[float, float, float]
_MAX_NOISE_CELLS = 6000


def noise(rng: np.random.Generator, size_wh: tuple[int, int], cell_px: float) -> Pixels:
    """Return smooth random values (h, w) with features of about `cell_px` pixels (value noise)."""
    width, height = size_wh
    if cell_px < 1.5:
        return rng.integers(0, 256, (height, width), dtype=np.uint8)
    columns = min(int(width / cell_px) + 3, _MAX_NOISE_CELLS)
    rows = min(int(height / cell_px) + 3, _MAX_NOISE_CELLS)
    grid = Image.fromarray(rng.integers(0, 256, (rows, columns), dtype=np.uint8))
    box = (1.0, 1.0, 1.0 + width / cell_px, 1.0 + height / cell_px)
    box = (1.0, 1.0, min(box[2], columns - 1.0), min(box[3], rows - 1.0))
    return np.asarray(grid.resize(size_wh, Image.Resampling.BICUBIC, box=box))


def fractal(
    rng: np.random.Generator,
    size_wh: tuple[int, int],
    octaves: Sequence[tuple[float, int]],
) -> Pixels:
    """Return a weighted mean (h, w) of noises; each octave is (cell_px, weight)."""
    width, height = size_wh
    total = np.zeros((height, width), np.uint16)
    for cell_px, weight in octaves:
        total += noise(rng, size_wh, cell_px).astype(np.uint16) * np.uint16(weight)
    total //= np.uint16(sum(weight for _, weight in octaves))
    return total.astype(np.uint8)


def ramp(stops: Sequence[Colour]) -> Pixels:
    """Return a palette (256, 3) that interpolates evenly between the given colours."""
    at = np.linspace(0.0, 255.0, len(stops))
    channels = [np.interp(np.arange(256), at, [stop[i] for stop in stops]) for i in range(3)]
    return np.stack(channels, axis=1).round().astype(np.uint8)


def stretched(values: Pixels, low: int = 70, high: int = 185) -> Pixels:
    """Return the values with [low, high] stretched to the whole range."""
    steps = np.arange(256, dtype=np.float32)
    table = np.clip((steps - low) * 255.0 / (high - low), 0, 255).astype(np.uint8)
    return np.take(table, values)


def soil(
    rng: np.random.Generator,
    size_wh: tuple[int, int],
    unit_px: float,
    stops: Sequence[Colour],
) -> Pixels:
    """Return crumbly soil (h, w, 3), lit from one side; `unit_px` is the diameter of a plant."""
    heights = fractal(
        rng,
        size_wh,
        [
            (unit_px * 7, 2),
            (unit_px * 1.3, 2),
            (unit_px * 0.34, 3),
            (unit_px * 0.11, 4),
            (unit_px * 0.04, 3),
            (1.0, 2),
        ],
    )
    shaded = stretched(heights, 58, 198).astype(np.int16)
    slope = heights[1:, 1:].astype(np.int16) - heights[:-1, :-1]
    shaded[1:, 1:] += slope * 2
    return np.take(ramp(stops), np.clip(shaded, 0, 255), axis=0)


def boards(
    rng: np.random.Generator,
    size_wh: tuple[int, int],
    board_px: float,
    angle: float,
    stops: Sequence[Colour],
    *,
    gap: float = 0.06,
) -> Pixels:
    """Return parallel boards (h, w, 3) with dark gaps; `gap` is a share of the board's width."""
    width, height = size_wh
    along_x = np.arange(width, dtype=np.float32) * np.float32(-np.sin(angle))
    along_y = np.arange(height, dtype=np.float32) * np.float32(np.cos(angle))
    reach = float(width + height)
    across = (along_y[:, None] + along_x[None, :] + reach) / np.float32(board_px)  # (h, w)
    index = across.astype(np.int32)
    within = across - index
    tint = rng.integers(-26, 27, int(2 * reach / board_px) + 3).astype(np.int16)
    grain = fractal(rng, size_wh, [(board_px * 2.0, 3), (board_px * 0.25, 2), (1.0, 1)])
    shade = stretched(grain).astype(np.int16) // 2 + 64 + tint[index]
    shade[within < gap * 2] += 18
    shade[within < gap] = 8
    pixels: Pixels = np.take(ramp(stops), np.clip(shade, 0, 255), axis=0)
    return pixels


def weave(
    rng: np.random.Generator,
    size_wh: tuple[int, int],
    thread_px: float,
    stops: Sequence[Colour],
) -> Pixels:
    """Return woven ground cover (h, w, 3) with a faint grid of threads."""
    width, height = size_wh
    thread = max(thread_px, 2.0)
    columns = (np.arange(width) / thread).astype(np.int32)
    rows = (np.arange(height) / thread).astype(np.int32)
    checks = ((rows[:, None] + columns[None, :]) % 2).astype(np.int16) * 26
    wide = (np.arange(width) / (thread * 14)).astype(np.int32) % 6 == 0
    grain = fractal(rng, size_wh, [(thread * 40, 3), (thread * 6, 2), (1.0, 2)])
    shade = stretched(grain).astype(np.int16) // 2 + checks + 40
    shade[:, wide] += 14
    pixels: Pixels = np.take(ramp(stops), np.clip(shade, 0, 255), axis=0)
    return pixels
