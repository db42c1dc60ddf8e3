"""Decodes segmentation masks from coefficients and prototypes, each inside its own box and nowhere else.

A mask is where a bilinear surface is above zero. The surface is small (a prototype's cell is 4 canvas pixels, or
20 pixels of a large photograph), so it is not computed at every pixel: along a column of pixels it is a straight
line from one prototype row to the next and changes its sign once at most. Where, takes one division a cell; the
pixels between are a comparison of bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from shared.errors import ImageTooLarge
from shared.vision.arrays import BoolArray, Float32Array, Float64Array, FloatArray, IndexArray, Pixels, SizeHW
from shared.vision.images.letterbox import Letterbox
from shared.vision.images.pixels import rgb_view, with_padding_byte

MAX_PIXELS: Final = 2**29  # of all masks of an image, a byte each
MASKED_OUT_GREY: Final = 114  # the grey of a letterbox's padding

_BYTE: Final = 255
_BAND: Final = 1 << 17


@dataclass(frozen=True, slots=True, eq=False)
class Mask:
    """The pixels of one object: `pixels` (h, w), whose first lies at `left`, `top` in the px of its frame."""

    left: int
    top: int
    pixels: BoolArray

    @property
    def area(self) -> int:
        """In px. 0: there is nothing of the object in its box."""
        return int(np.count_nonzero(self.pixels))

    def shifted(self, left: int, top: int) -> Mask:
        """The same pixels in a frame whose origin lies `left`, `top` before this one's: a tile's, in its image."""
        return replace(self, left=self.left + left, top=self.top + top)

    def covers(self, points_xy: Float32Array) -> BoolArray:
        """(n,) which of the points (n, 2) of the same frame lie on pixels of the object."""
        height, width = self.pixels.shape
        places = np.floor(points_xy).astype(np.intp) - (self.left, self.top)
        covered: BoolArray = np.all((places >= 0) & (places < (width, height)), axis=1)
        covered[covered] = self.pixels[places[covered, 1], places[covered, 0]]
        return covered

    def cropped(self, left: int, top: int, right: int, bottom: int) -> Mask:
        """What lies inside a rectangle of the same frame; may be empty. A view."""
        height, width = self.pixels.shape
        x1, x2 = (min(max(x - self.left, 0), width) for x in (left, right))
        y1, y2 = (min(max(y - self.top, 0), height) for y in (top, bottom))
        return Mask(self.left + x1, self.top + y1, self.pixels[y1:y2, x1:x2])


def ensure_mask_pixels_allowed(pixels: int) -> None:
    """Raises: ImageTooLarge: masks in boxes of so many pixels together are more than there is memory for."""
    if pixels > MAX_PIXELS:
        raise ImageTooLarge(
            f"The boxes of the segments have {pixels} px together; masks of up to {MAX_PIXELS} are made: ask for "
            f"fewer (max_detections, confidence_threshold), on the canvas (resolution), or of a smaller image"
        )


def mask_out(image: Pixels, mask: Mask) -> Pixels:
    """Return the mask's rectangle of the image (h, w, 3), with grey where the mask is not."""
    height, width = mask.pixels.shape
    crop = with_padding_byte(image[mask.top : mask.top + height, mask.left : mask.left + width]).copy()
    crop[~mask.pixels] = MASKED_OUT_GREY
    return rgb_view(crop)


def canvas_masks(
    coefficients: FloatArray,
    prototypes: FloatArray,
    boxes_xyxy: Float32Array,
    canvas_hw: SizeHW,
) -> list[Mask]:
    """The masks of n objects at the canvas's resolution: what the reference decodes, pixel by pixel.

    `coefficients` (n, c), `prototypes` (c, mh, mw), `boxes_xyxy` (n, 4) canvas px. The logits are enlarged
    bilinearly with half-pixel centres and clamped edges (align_corners False); a pixel belongs to the object where
    they are > 0 and its index is in the box: x1 <= x < x2, y1 <= y < y2.

    One mask for each object, in their order, an empty one (`area` 0) included.

    Raises:
        ImageTooLarge: their boxes have more than `MAX_PIXELS` together.
    """
    scale_hw = prototypes.shape[1] / canvas_hw[0], prototypes.shape[2] / canvas_hw[1]
    rows = _Rows.of(canvas_hw[0], scale_hw[0], 0.0)
    columns = _centres(canvas_hw[1], scale_hw[1], 0.0)
    return _decode(coefficients, prototypes, boxes_xyxy, rows, columns)


def image_masks(
    coefficients: FloatArray,
    prototypes: FloatArray,
    boxes_xyxy: Float32Array,
    letterbox: Letterbox,
) -> list[Mask]:
    """The masks of n objects at the image's own resolution; arrays and answer as for `canvas_masks`.

    `boxes_xyxy` are in canvas px here too; pixels are in a box by their index in the image. The surface is sampled
    at the centres of the image's pixels through the letterbox, exactly: the padding need not be a whole number of
    prototype cells, and is never rounded to one (the reference does, which shifts its masks by up to half a cell).

    In an image that the letterbox enlarges, an index may be many canvas px away from its pixel's middle: there a
    box begins and ends where it does on the canvas. What lies between the middles of its pixels is one pixel.
    """
    (height, width), (inner_height, inner_width) = letterbox.image_hw, letterbox.resized_hw
    cell_h = prototypes.shape[1] / letterbox.canvas_hw[0]  # canvas px to prototype cells
    cell_w = prototypes.shape[2] / letterbox.canvas_hw[1]
    rows = _Rows.of(height, inner_height / height * cell_h, letterbox.top * cell_h)
    columns = _centres(width, inner_width / width * cell_w, letterbox.left * cell_w)
    enlarged_xy = np.maximum((inner_width / width, inner_height / height), 1)
    boxes = letterbox.to_image_coords(boxes_xyxy) - np.tile(0.5 - 0.5 / enlarged_xy, 2).astype(np.float32)
    masks = _decode(coefficients, prototypes, boxes, rows, columns)
    lost = [index for index, mask in enumerate(masks) if not mask.area] if enlarged_xy.max() > 1 else []
    if lost:
        small = canvas_masks(coefficients[lost], prototypes, boxes_xyxy[lost], letterbox.canvas_hw)
        for index, mask in zip(lost, small, strict=True):
            masks[index] = _pixel(mask, letterbox) or masks[index]
    return masks


def _pixel(mask: Mask, letterbox: Letterbox) -> Mask | None:
    """The pixel of the image in which the middle of a mask on the canvas lies; None for an empty one."""
    (height, width), (inner_height, inner_width) = letterbox.image_hw, letterbox.resized_hw
    left, top = letterbox.left, letterbox.top
    mask = mask.cropped(left, top, left + inner_width, top + inner_height)
    if not mask.area:
        return None
    y, x = np.argwhere(mask.pixels).mean(axis=0) + 0.5
    column, row = (x + mask.left - left) * width / inner_width, (y + mask.top - top) * height / inner_height
    return Mask(int(column), int(row), np.ones((1, 1), bool))


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """For each row of pixels of a frame: between which two prototype rows it lies, and as which one there."""

    cell: IndexArray  # (h,) the prototype row above; -1 above the first
    place: IndexArray  # (h,) 0, 1, ... in the cell
    start: Float64Array  # (cells,) how far below its prototype row a cell's first row of pixels lies
    step: float  # from one row of pixels to the next, in cells
    most: int  # rows of pixels in a cell

    @classmethod
    def of(cls, length: int, scale: float, offset: float) -> _Rows:
        centres = _centres(length, scale, offset)
        floor = np.floor(centres)
        cell = floor.astype(np.intp)
        first = np.searchsorted(cell, np.arange(cell[0], cell[-1] + 1))
        place = np.arange(length) - first[cell - cell[0]]
        return cls(cell, place, (centres - floor)[first], scale, int(place.max()) + 1)


def _centres(length: int, scale: float, offset: float) -> Float64Array:
    """Where the centres of `length` pixels lie, in prototype cells from the centre of the first."""
    return (np.arange(length, dtype=np.float64) + 0.5) * scale + (offset - 0.5)


@dataclass(frozen=True, slots=True, eq=False)
class _Turns:
    """Where the columns of pixels of one box change their sign, between which logits."""

    xs: slice
    ys: slice
    outside: BoolArray  # (cells, w) the upper prototype row of a cell is not above zero
    cells: IndexArray  # (k,) those whose lower row differs from the upper one, in `outside` flattened
    upper: Float32Array  # (k,)
    lower: Float32Array  # (k,)


def _decode(
    coefficients: FloatArray,
    prototypes: FloatArray,
    boxes_xyxy: Float32Array,
    rows: _Rows,
    columns: Float64Array,
) -> list[Mask]:
    if not len(boxes_xyxy):
        return []
    sides_xyxy = np.array((len(columns), len(rows.cell)) * 2)
    inside = np.clip(np.ceil(np.nan_to_num(boxes_xyxy)), 0, sides_xyxy).astype(np.intp)
    inside[:, 2:] = np.maximum(inside[:, :2], inside[:, 2:])
    widths, heights = (inside[:, 2:] - inside[:, :2]).T
    ends = np.cumsum(widths * heights)
    ensure_mask_pixels_allowed(int(ends[-1]))
    with np.errstate(invalid="ignore", over="ignore"):  # a logit that is no number is outside
        turns = _turns(coefficients, prototypes, inside, rows, columns)
        counts = _counts(turns, rows)

    pixels = np.empty(ends[-1], bool)  # of all masks: one block of memory is several times cheaper than many
    scratch = np.empty((_BAND + rows.most * int(widths.max(initial=0))), bool)
    masks = []
    for turn, count, end in zip(turns, counts, ends.tolist(), strict=True):
        height, width = turn.ys.stop - turn.ys.start, turn.xs.stop - turn.xs.start
        mask = pixels[end - height * width : end].reshape(height, width)
        if mask.size:
            _fill(mask, turn, count, rows, scratch)
        masks.append(Mask(turn.xs.start, turn.ys.start, mask))
    return masks


def _turns(
    coefficients: FloatArray,
    prototypes: FloatArray,
    inside: IndexArray,
    rows: _Rows,
    columns: Float64Array,
) -> list[_Turns]:
    """`inside` (n, 4): xyxy of whole pixels. The logits, enlarged along the rows only, and their signs."""
    depth, mask_h, mask_w = prototypes.shape
    prototypes = prototypes.astype(np.float32, copy=False)
    coefficients = coefficients.astype(np.float32, copy=False)
    columns = np.clip(columns, 0, mask_w - 1)
    x0 = columns.astype(np.intp)
    x1 = np.minimum(x0 + 1, mask_w - 1)
    right = (columns - x0).astype(np.float32)  # the weight of x1
    left = np.float32(1) - right

    turns = []
    for weights, (begin, top, end, bottom) in zip(coefficients, inside.tolist(), strict=True):
        xs, ys = slice(begin, end), slice(top, bottom)
        if begin == end or top == bottom:
            none = np.empty(0, np.float32)
            turns.append(_Turns(xs, ys, np.empty((0, 0), bool), np.empty(0, np.intp), none, none))
            continue
        a, b = x0.item(begin), x1.item(end - 1) + 1
        above, below = rows.cell.item(top), rows.cell.item(bottom - 1) + 1
        c, d = max(above, 0), min(below, mask_h - 1) + 1
        patch = np.ascontiguousarray(prototypes[:, c:d, a:b]).reshape(depth, -1)
        logits = (weights @ patch).reshape(d - c, b - a)
        if above < c or below >= d:  # beyond the outermost centres the edge row is repeated
            logits = logits.take(np.clip(np.arange(above, below + 1), 0, mask_h - 1) - c, axis=0)
        lines = logits.take(x0[xs] - a, axis=1)
        lines *= left[xs]
        other = logits.take(x1[xs] - a, axis=1)
        other *= right[xs]
        lines += other
        positive = lines > 0
        cells = np.flatnonzero(positive[:-1] != positive[1:])
        flat = lines.ravel()
        turns.append(_Turns(xs, ys, ~positive[:-1], cells, flat.take(cells), flat[end - begin :].take(cells)))
    return turns


def _counts(turns: list[_Turns], rows: _Rows) -> list[npt.NDArray[np.unsignedinteger]]:
    """How many rows of pixels of a cell have the sign of its upper prototype row: for each mask's `cells` (k,).

    Between the upper row's logit a and the lower one's b it is a + t (b - a), zero at t = a / (a - b).
    """
    lengths = [len(turn.cells) for turn in turns]
    upper = np.concatenate([turn.upper for turn in turns]).astype(np.float64)
    lower = np.concatenate([turn.lower for turn in turns])
    cells = [
        turn.cells // (turn.xs.stop - turn.xs.start) + (rows.cell[turn.ys.start] - rows.cell[0])
        for turn in turns
        if len(turn.cells)
    ]
    start = rows.start.take(np.concatenate((*cells, np.empty(0, np.intp))))
    place = (upper / (upper - lower) - start) / rows.step
    # A logit of exactly zero is outside, on whichever side of it a is.
    count = np.where(upper > 0, np.ceil(place), np.floor(place) + 1)
    count = np.nan_to_num(np.clip(count, 0, rows.most))
    small = np.uint8 if rows.most <= _BYTE else np.uint32
    return np.split(count.astype(small), np.cumsum(lengths)[:-1])


def _fill(
    mask: BoolArray, turn: _Turns, count: npt.NDArray[np.unsignedinteger], rows: _Rows, scratch: BoolArray
) -> None:
    """Write the pixels of one box, a band of cells at a time, so that what is between stays in the cache."""
    cells, width = turn.outside.shape
    until = np.full((cells, width), rows.most, count.dtype)
    until.ravel()[turn.cells] = count
    place = np.arange(rows.most, dtype=count.dtype)[:, None]
    source = (rows.cell[turn.ys] - rows.cell[turn.ys.start]) * rows.most + rows.place[turn.ys]
    step = _BAND // (rows.most * width) + 1
    begin = 0
    for first in range(0, cells, step):
        band = until[first : first + step, None]
        shape = len(band), rows.most, width
        same = scratch[: len(band) * rows.most * width].reshape(shape)
        np.less(place, band, out=same)
        same ^= turn.outside[first : first + step, None]
        end = len(source) if first + step >= cells else int(np.searchsorted(source, (first + step) * rows.most))
        # mode: with the default one the answer is written twice
        same.reshape(-1, width).take(
            source[begin:end] - first * rows.most, axis=0, out=mask[begin:end], mode="clip"
        )
        begin = end
