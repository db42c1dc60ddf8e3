"""The picture being made: ground below, shadows and sprites on top, the truth written beside it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops, ImageFilter

from samples.scenes.scene import Floats, Pixels, Scene, Segment, Tenant
from samples.scenes.textures import noise

VISIBLE = 0.3  # an object cut by the border counts while this share of its box can be seen
SMALLEST_PX = 4.0


@dataclass(frozen=True)
class Sprite:
    """A picture of one object with its shadow, ready to be pasted by its centre."""

    picture: Image.Image  # RGBA
    shadow: Image.Image  # L, larger than the picture by `margin` on every side
    margin: int
    box_xyxy: tuple[int, int, int, int]  # what is opaque, in px of the picture


def sprite(picture: Image.Image, side_px: float, turn: float, softness: float) -> Sprite:
    """The picture turned by `turn` degrees and brought to `side_px`, with a soft shadow."""
    turned = picture.rotate(turn, Image.Resampling.BICUBIC) if turn else picture
    side = max(round(side_px), 3)
    small = turned.resize((side, side), Image.Resampling.LANCZOS, reducing_gap=3.0)
    alpha = small.getchannel("A")
    margin = max(2, math.ceil(side * softness * 2.5))
    shadow = Image.new("L", (side + 2 * margin, side + 2 * margin))
    shadow.paste(alpha, (margin, margin))
    shadow = shadow.filter(ImageFilter.GaussianBlur(max(side * softness, 0.6)))
    box = alpha.point([0] * 110 + [255] * 146).getbbox() or (0, 0, side, side)
    return Sprite(small, shadow, margin, box)


@dataclass(frozen=True)
class Placed:
    """An object of the truth before it is clipped."""

    box_xyxy: tuple[float, float, float, float]
    class_id: int
    state: str


class Canvas:
    """Collects what is drawn and what is true; `scene` lights the picture and closes it."""

    def __init__(self, ground: Pixels, light: float, height: float) -> None:
        """`light` is the angle the light comes from, `height` the shadow's length in sizes."""
        self.picture = Image.fromarray(ground)
        self.light = light
        self._height = height
        self._sprites: list[tuple[Sprite, int, int, float]] = []
        self._placed: list[Placed] = []
        self._segments: list[Segment] = []

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height of the picture in pixels."""
        return self.picture.size

    def put(
        self,
        thing: Sprite,
        centre_xy: tuple[float, float],
        truth: tuple[int, str] | None = None,
        *,
        height: float | None = None,
    ) -> None:
        """Plan a sprite at a place; with `truth` (class id, state) it is an object to be found."""
        left = round(centre_xy[0] - thing.picture.width / 2)
        top = round(centre_xy[1] - thing.picture.height / 2)
        self._sprites.append((thing, left, top, self._height if height is None else height))
        if truth is not None:
            x1, y1, x2, y2 = thing.box_xyxy
            self.mark((left + x1, top + y1, left + x2, top + y2), *truth)

    def mark(self, box_xyxy: tuple[float, float, float, float], class_id: int, state: str) -> None:
        """Write an object into the truth without drawing anything."""
        self._placed.append(Placed(box_xyxy, class_id, state))

    def area(self, label: str, class_id: int, polygon: Floats) -> None:
        """Write an area, (k, 2) xy px, into the truth; what lies outside the image is cut off."""
        inside = clipped(polygon, self.size_wh)
        if len(inside) > 2:
            self._segments.append(Segment(label, class_id, inside))

    def flatten(self) -> None:
        """Draw what was planned: all shadows first, then the things that cast them."""
        for thing, left, top, height in self._sprites:
            reach = height * thing.picture.width
            x = left - thing.margin - round(reach * math.cos(self.light))
            y = top - thing.margin - round(reach * math.sin(self.light))
            self.picture.paste((14, 12, 16), (x, y), thing.shadow.point(_HALF))
        for thing, left, top, _ in self._sprites:
            self.picture.paste(thing.picture, (left, top), thing.picture)
        self._sprites.clear()

    def scene(self, rng: np.random.Generator, tenant: Tenant) -> Scene:
        """The finished picture with everything that is true about it."""
        self.flatten()
        boxes, class_ids, states = self._truth()
        return Scene(
            tenant_id=tenant.tenant_id,
            image=lit(rng, self.picture),
            boxes_xyxy=boxes,
            class_ids=class_ids,
            labels=tenant.labels,
            states=states,
            segments=tuple(self._segments),
        )

    def _truth(self) -> tuple[Floats, np.ndarray, tuple[str, ...]]:
        width, height = self.size_wh
        whole = np.array([p.box_xyxy for p in self._placed], np.float32).reshape(-1, 4)
        boxes = np.clip(whole, 0, np.array([width, height, width, height], np.float32))
        sides, seen = whole[:, 2:] - whole[:, :2], boxes[:, 2:] - boxes[:, :2]
        kept = (seen.prod(axis=1) >= VISIBLE * sides.prod(axis=1)) & (seen.min(1) >= SMALLEST_PX)
        class_ids = np.array([p.class_id for p in self._placed], np.int64)[kept]
        states = tuple(p.state for p, keep in zip(self._placed, kept, strict=True) if keep)
        return boxes[kept], class_ids, states


_HALF = [round(value * 0.55) for value in range(256)]


def lit(rng: np.random.Generator, picture: Image.Image) -> Pixels:
    """(h, w, 3) the picture under uneven light, a little tinted and with the sensor's noise."""
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
    """The lit and the dark rim of a raised area (both L), for light from the angle `light`."""
    dx, dy = round(px * math.cos(light)), round(px * math.sin(light))
    lit_rim = ImageChops.subtract(mask, ImageChops.offset(mask, -dx, -dy))
    dark_rim = ImageChops.subtract(ImageChops.offset(mask, -dx, -dy), mask)
    return lit_rim, dark_rim


def clipped(polygon: Floats, size_wh: tuple[int, int]) -> Floats:
    """(k, 2) the part of a convex polygon inside the image (Sutherland and Hodgman, 1974)."""
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
