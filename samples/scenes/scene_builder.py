"""Compose a scene: a background, sprites with shadows on it, and the ground truth."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops, ImageFilter

from samples.scenes.scene import Floats, Pixels, Scene, Segment, Tenant
from samples.scenes.textures import noise

MIN_VISIBLE_SHARE = 0.3  # an object cut by the border counts if this share of its box is visible
MIN_SIDE_PX = 4.0


@dataclass(frozen=True)
class Sprite:
    """A picture of one object with its shadow."""

    picture: Image.Image  # RGBA
    shadow: Image.Image  # L, larger than the picture by `margin` on every side
    margin: int
    box_xyxy: tuple[int, int, int, int]  # of the opaque pixels, in px of the picture


def make_sprite(picture: Image.Image, side_px: float, rotation_deg: float, softness: float) -> Sprite:
    """Return the picture rotated and scaled to `side_px`, with a soft shadow."""
    rotated = picture.rotate(rotation_deg, Image.Resampling.BICUBIC) if rotation_deg else picture
    side = max(round(side_px), 3)
    small = rotated.resize((side, side), Image.Resampling.LANCZOS, reducing_gap=3.0)
    alpha = small.getchannel("A")
    margin = max(2, math.ceil(side * softness * 2.5))
    shadow = Image.new("L", (side + 2 * margin, side + 2 * margin))
    shadow.paste(alpha, (margin, margin))
    shadow = shadow.filter(ImageFilter.GaussianBlur(max(side * softness, 0.6)))
    box = alpha.point([0] * 110 + [255] * 146).getbbox() or (0, 0, side, side)
    return Sprite(small, shadow, margin, box)


@dataclass(frozen=True)
class UnclippedObject:
    """An object of the ground truth before it is clipped."""

    box_xyxy: tuple[float, float, float, float]
    class_id: int
    state: str


class SceneBuilder:
    """Collects sprites and their ground truth; `scene` draws them and applies the light."""

    def __init__(self, background: Pixels, light: float, height: float) -> None:
        """Start from a background.

        Args:
            background: The pixels below all sprites, (h, w, 3).
            light: The angle that the light comes from, in radians.
            height: The length of a shadow, as a share of the sprite's width.
        """
        self.picture = Image.fromarray(background)
        self.light = light
        self._height = height
        self._sprites: list[tuple[Sprite, int, int, float]] = []
        self._objects: list[UnclippedObject] = []
        self._segments: list[Segment] = []

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height of the picture in pixels."""
        return self.picture.size

    def add_sprite(
        self,
        sprite: Sprite,
        centre_xy: tuple[float, float],
        truth: tuple[int, str] | None = None,
        *,
        height: float | None = None,
    ) -> None:
        """Add a sprite; with `truth` (class id, state) it is an object of the ground truth."""
        left = round(centre_xy[0] - sprite.picture.width / 2)
        top = round(centre_xy[1] - sprite.picture.height / 2)
        self._sprites.append((sprite, left, top, self._height if height is None else height))
        if truth is not None:
            x1, y1, x2, y2 = sprite.box_xyxy
            self.add_object((left + x1, top + y1, left + x2, top + y2), *truth)

    def add_object(self, box_xyxy: tuple[float, float, float, float], class_id: int, state: str) -> None:
        """Add an object to the ground truth without drawing it."""
        self._objects.append(UnclippedObject(box_xyxy, class_id, state))

    def add_segment(self, label: str, class_id: int, polygon: Floats) -> None:
        """Add a segment with an outline (k, 2) xy px to the ground truth, clipped to the image."""
        inside = clip_polygon(polygon, self.size_wh)
        if len(inside) > 2:
            self._segments.append(Segment(label, class_id, inside))

    def flatten(self) -> None:
        """Draw the sprites that were added: first all shadows, then the pictures."""
        for sprite, left, top, height in self._sprites:
            reach = height * sprite.picture.width
            x = left - sprite.margin - round(reach * math.cos(self.light))
            y = top - sprite.margin - round(reach * math.sin(self.light))
            self.picture.paste((14, 12, 16), (x, y), sprite.shadow.point(_SHADOW_OPACITY))
        for sprite, left, top, _ in self._sprites:
            self.picture.paste(sprite.picture, (left, top), sprite.picture)
        self._sprites.clear()

    def scene(self, rng: np.random.Generator, tenant: Tenant) -> Scene:
        """Return the finished image with its ground truth."""
        self.flatten()
        boxes, class_ids, states = self._truth()
        return Scene(
            tenant_id=tenant.tenant_id,
            image=apply_light(rng, self.picture),
            boxes_xyxy=boxes,
            class_ids=class_ids,
            labels=tenant.labels,
            states=states,
            segments=tuple(self._segments),
        )

    def _truth(self) -> tuple[Floats, np.ndarray, tuple[str, ...]]:
        width, height = self.size_wh
        whole = np.array([p.box_xyxy for p in self._objects], np.float32).reshape(-1, 4)
        boxes = np.clip(whole, 0, np.array([width, height, width, height], np.float32))
        sides, seen = whole[:, 2:] - whole[:, :2], boxes[:, 2:] - boxes[:, :2]
        kept = (seen.prod(axis=1) >= MIN_VISIBLE_SHARE * sides.prod(axis=1)) & (seen.min(1) >= MIN_SIDE_PX)
        class_ids = np.array([p.class_id for p in self._objects], np.int64)[kept]
        states = tuple(p.state for p, keep in zip(self._objects, kept, strict=True) if keep)
        return boxes[kept], class_ids, states


_SHADOW_OPACITY = [round(value * 0.55) for value in range(256)]


def apply_light(rng: np.random.Generator, picture: Image.Image) -> Pixels:
    """Return the picture (h, w, 3) under uneven light, slightly tinted and with sensor noise."""
    width, height = picture.size
    across = np.linspace(-0.5, 0.5, width, dtype=np.float32)[None, :]
    down = np.linspace(-0.5, 0.5, height, dtype=np.float32)[:, None]
    tilt_x, tilt_y = rng.uniform(-0.28, 0.28, 2).astype(np.float32)
    vignette = np.float32(rng.uniform(0.1, 0.45))
    gain = rng.uniform(0.86, 1.16) + tilt_x * across + tilt_y * down
    gain = gain - vignette * (across * across + down * down)
    clouds = noise(rng, picture.size, max(width, height) / rng.uniform(1.5, 5)).astype(np.float32)
    gain = (gain + (clouds - 128.0) * np.float32(rng.uniform(0.0, 0.0016))).astype(np.float32)
    grain = rng.integers(-1, 2, (height, width), dtype=np.int8) * np.float32(rng.uniform(0.3, 3.0))
    tint = rng.uniform(0.95, 1.05, 3)
    pixels = np.asarray(picture)
    out = np.empty_like(pixels)
    for channel in range(3):
        values = pixels[..., channel] * (gain * np.float32(tint[channel])) + grain
        out[..., channel] = np.clip(values + 0.5, 0, 255).astype(np.uint8)
    return out


def bevel(mask: Image.Image, light: float, px: float) -> tuple[Image.Image, Image.Image]:
    """Return the lit and the dark rim of a raised area (both L) for light from the angle `light`."""
    dx, dy = round(px * math.cos(light)), round(px * math.sin(light))
    lit_rim = ImageChops.subtract(mask, ImageChops.offset(mask, -dx, -dy))
    dark_rim = ImageChops.subtract(ImageChops.offset(mask, -dx, -dy), mask)
    return lit_rim, dark_rim


def clip_polygon(polygon: Floats, size_wh: tuple[int, int]) -> Floats:
    """Clip a convex polygon (k, 2) to the image with the algorithm of Sutherland and Hodgman (1974)."""
    points = [(float(x), float(y)) for x, y in polygon]
    width, height = size_wh
    for axis, limit, sign in ((0, 0.0, 1.0), (0, width, -1.0), (1, 0.0, 1.0), (1, height, -1.0)):
        kept: list[tuple[float, float]] = []
        for here, following in zip(points, points[1:] + points[:1], strict=True):
            a, b = sign * (here[axis] - limit), sign * (following[axis] - limit)
            if a >= 0:
                kept.append(here)
            if (a >= 0) != (b >= 0):
                share = a / (a - b)
                kept.append(
                    (
                        here[0] + share * (following[0] - here[0]),
                        here[1] + share * (following[1] - here[1]),
                    )
                )
        points = kept
    return np.array(points, np.float32).reshape(-1, 2)
