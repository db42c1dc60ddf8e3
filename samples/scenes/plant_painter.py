"""Paint leaves, petals and discs into a small square."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    from samples.scenes.textures import Colour

AnyFloats = NDArray[np.floating]
Window = tuple[slice, slice]  # rows, columns


class PlantPainter:
    """A transparent square from (-1, -1) to (1, 1) on which plants are painted from above."""

    def __init__(self, side_px: int) -> None:
        self.side_px = side_px
        at = (np.arange(side_px, dtype=np.float32) + 0.5) * (2.0 / side_px) - 1.0
        self._x = at[None, :]
        self._y = at[:, None]
        self._rgb = np.zeros((side_px, side_px, 3), np.float32)
        self._alpha = np.zeros((side_px, side_px), np.float32)
        self._soft = 2.5 / side_px

    def image(self) -> Image.Image:
        """Return the painting as a square RGBA picture."""
        rgba = np.concatenate([self._rgb, self._alpha[..., None] * 255.0], axis=2)
        return Image.fromarray(np.clip(rgba + 0.5, 0, 255).astype(np.uint8), "RGBA")

    def leaf(
        self,
        root_xy: tuple[float, float],
        angle: float,
        length: float,
        width: float,
        colour: Colour,
        *,
        bend: float = 0.0,
        blunt: float = 0.5,
        ruffle: float = 0.0,
        vein: float = 0.22,
        light: float = 0.0,
    ) -> None:
        """Paint one leaf from its root outwards; `light` is the angle that the light comes from."""
        tip = (root_xy[0] + length * math.cos(angle), root_xy[1] + length * math.sin(angle))
        window = self._window(root_xy, tip, 1.3 * width + abs(bend) * length + 0.04)
        dx, dy = self._x[:, window[1]] - root_xy[0], self._y[window[0]] - root_xy[1]
        along = (dx * math.cos(angle) + dy * math.sin(angle)) / length
        across = dy * math.cos(angle) - dx * math.sin(angle) + bend * length * along * along
        t = np.clip(along, 0.0, 1.0)
        outline = np.power(t, 0.62) * np.power(1.0 - t, blunt)
        peak = 0.62 / (0.62 + blunt)
        outline *= width / (peak**0.62 * (1.0 - peak) ** blunt)
        if ruffle:
            outline *= 1.0 + ruffle * np.sin(t * 23.0 + 40.0 * length)
        inside = outline - np.abs(across)
        cover = np.clip(inside / self._soft, 0.0, 1.0)
        shadow = np.clip(inside / (6 * self._soft) + 0.9, 0.0, 1.0) * (np.abs(along - 0.5) < 0.55)
        edge = np.abs(across) / np.maximum(outline, 1e-3)
        shade = 0.72 + 0.34 * t - 0.20 * np.clip(edge, 0, 1) ** 2
        shade += np.sign(across) * (0.09 * math.sin(light - angle))
        shade += vein * np.clip(1.0 - np.abs(across) / (0.09 * width + 0.004), 0, 1) * (1.0 - t)
        if ruffle:
            shade += 0.07 * np.sin(across * 40.0 / width) * np.clip(edge, 0, 1)
        self._blend(window, cover, shade, colour, 0.30 * shadow)

    def disc(
        self,
        centre_xy: tuple[float, float],
        radius: float,
        colour: Colour,
        *,
        dome: float = 0.25,
        light: float = 0.0,
        hole: float = 0.0,
    ) -> None:
        """Paint a disc, or a ring if `hole` is the share of the radius that stays open."""
        window = self._window(centre_xy, centre_xy, 1.2 * radius + 0.02)
        dx, dy = self._x[:, window[1]] - centre_xy[0], self._y[window[0]] - centre_xy[1]
        away = np.sqrt(dx * dx + dy * dy)
        cover = np.clip((radius - away) / self._soft, 0.0, 1.0)
        shadow = np.clip((radius * 1.15 - away) / (4 * self._soft), 0.0, 1.0)
        if hole:
            cover *= np.clip((away - radius * hole) / self._soft, 0.0, 1.0)
            shadow *= away > radius * hole * 0.9
        lit = (dx * math.cos(light) + dy * math.sin(light)) / max(radius, 1e-3)
        self._blend(window, cover, 1.0 + dome * np.clip(lit, -1, 1), colour, 0.25 * shadow)

    def speckle(self, rng: np.random.Generator, spots: int, size: float, colour: Colour) -> None:
        """Stain the painting with round spots, without changing its outline."""
        for _ in range(spots):
            x, y = rng.uniform(-0.8, 0.8, 2)
            radius = size * rng.uniform(0.5, 1.4)
            away = np.sqrt((self._x - x) ** 2 + (self._y - y) ** 2)
            stain = np.clip((radius - away) / (2 * self._soft), 0.0, 0.85)[..., None]
            self._rgb += (np.asarray(colour, np.float32) - self._rgb) * stain

    def _window(self, one_xy: tuple[float, float], other_xy: tuple[float, float], margin: float) -> Window:
        """Return the rows and columns within `margin` of two points."""
        (left, right), (top, bottom) = (sorted((one_xy[axis], other_xy[axis])) for axis in (0, 1))
        per_unit = self.side_px / 2.0
        return (
            slice(max(0, int((top - margin + 1) * per_unit)), int((bottom + margin + 1) * per_unit) + 1),
            slice(max(0, int((left - margin + 1) * per_unit)), int((right + margin + 1) * per_unit) + 1),
        )

    def _blend(self, window: Window, cover: AnyFloats, shade: AnyFloats, colour: Colour, dim: AnyFloats) -> None:
        """Blend paint into a window of the square, over its own soft shadow."""
        rgb = self._rgb[window]
        rgb *= (1.0 - dim)[..., None]
        paint = np.asarray(colour, np.float32) * np.asarray(shade, np.float32)[..., None]
        rgb += (paint - rgb) * cover[..., None]
        alpha = self._alpha[window]
        np.maximum(alpha, cover, out=alpha)
