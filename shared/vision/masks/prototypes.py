"""Decodes segmentation masks from prototypes: bilinear upsampling of each object's logits, cropped to its box.

A model gives c prototype masks for the whole canvas, and c coefficients for each object. The sum of the
prototypes weighted by the coefficients is the object's logit at each prototype cell, and the mask is where the
upsampled logit is above zero (YOLACT, Bolya et al. 2019, https://arxiv.org/abs/1904.02689).

A prototype cell is 4 canvas px, and perhaps 20 px of a large photograph. The upsampled logits are therefore not
computed at every pixel. Down a column of pixels, the bilinear surface is a straight line from one prototype row to
the next, so it changes its sign at most once in a cell. One division gives the row of that sign change, and the
pixels of the cell follow from comparing one-byte row numbers with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from shared.errors import ImageTooLarge, InvalidModel
from shared.runtime import deadline
from shared.vision.arrays import BoolArray, Float32Array, Float64Array, FloatArray, IndexArray, SizeHW
from shared.vision.images.letterbox import Letterbox
from shared.vision.masks.cells import RowCells, centres
from shared.vision.masks.masks import MAX_MASK_PIXELS, NOISE_ADVICE, Mask, ensure_mask_pixels_allowed

MAX_SIGN_CHANGES: Final = 2**23  # down the columns of all masks of a run; 300 masks of noise have twice as many
MAX_BOX_CELLS: Final = 2**26  # rows of prototypes times columns of pixels, in the box of a segment
_BAND_PIXELS: Final = 1 << 17  # rasterised at a time, so that the scratch memory stays in the CPU's cache


def canvas_masks(
    coefficients: FloatArray,
    prototypes: FloatArray,
    boxes_xyxy: Float32Array,
    canvas_hw: SizeHW,
) -> list[Mask]:
    """Decode the masks of n objects at the canvas's resolution, with the same pixels as Ultralytics.

    The logits are upsampled bilinearly with half-pixel centres and clamped edges (`align_corners=False`). A pixel
    belongs to the object where its logit is above 0 and its index is in the box: x1 <= x < x2, y1 <= y < y2.

    Args:
        coefficients: (n, c).
        prototypes: (c, mh, mw).
        boxes_xyxy: (n, 4) canvas px.
        canvas_hw: The size of the canvas.

    Returns:
        n masks in canvas px, in the order of the boxes. A mask may be empty.

    Raises:
        ImageTooLarge: The boxes have more than `MAX_MASK_PIXELS` together.
        InvalidModel: The masks are noise: they change their sign more than `MAX_SIGN_CHANGES` times.
        DeadlineExceeded: The event's deadline passed.
    """
    scale_hw = prototypes.shape[1] / canvas_hw[0], prototypes.shape[2] / canvas_hw[1]
    rows = RowCells.of(canvas_hw[0], scale_hw[0], 0.0)
    columns = centres(canvas_hw[1], scale_hw[1], 0.0)
    return _decode(coefficients, prototypes, boxes_xyxy, rows, columns)


def image_masks(
    coefficients: FloatArray,
    prototypes: FloatArray,
    boxes_xyxy: Float32Array,
    letterbox: Letterbox,
) -> list[Mask]:
    """Decode the masks of n objects at the image's own resolution.

    The logits are sampled at the centres of the image's pixels, through the letterbox. The padding need not be a
    whole number of prototype cells and is never rounded to one. (Ultralytics rounds it, which shifts its masks by
    up to half a cell.)

    A letterbox that enlarges the image makes a pixel of it many canvas px wide. Box edges are then compared with
    pixel edges as on the canvas, not with pixel indices. An object that covers the centre of no pixel becomes one
    pixel.

    Args:
        coefficients: (n, c).
        prototypes: (c, mh, mw).
        boxes_xyxy: (n, 4) canvas px.
        letterbox: Where the image lies on the canvas.

    Returns:
        n masks in image px, in the order of the boxes. A mask may be empty.

    Raises:
        ImageTooLarge: The boxes have more than `MAX_MASK_PIXELS` together.
        InvalidModel: The masks are noise: they change their sign more than `MAX_SIGN_CHANGES` times.
        DeadlineExceeded: The event's deadline passed.
    """
    (height, width), (inner_height, inner_width) = letterbox.image_hw, letterbox.resized_hw
    cell_h = prototypes.shape[1] / letterbox.canvas_hw[0]  # of a canvas px, in prototype cells
    cell_w = prototypes.shape[2] / letterbox.canvas_hw[1]
    rows = RowCells.of(height, inner_height / height * cell_h, letterbox.top * cell_h)
    columns = centres(width, inner_width / width * cell_w, letterbox.left * cell_w)
    enlargement_xy = np.maximum((inner_width / width, inner_height / height), 1)
    boxes = letterbox.to_image_coords(boxes_xyxy) - np.tile(0.5 - 0.5 / enlargement_xy, 2).astype(np.float32)
    masks = _decode(coefficients, prototypes, boxes, rows, columns)
    empty = [index for index, mask in enumerate(masks) if not mask.area] if enlargement_xy.max() > 1 else []
    if empty:
        on_canvas = canvas_masks(coefficients[empty], prototypes, boxes_xyxy[empty], letterbox.canvas_hw)
        for index, mask in zip(empty, on_canvas, strict=True):
            masks[index] = _one_pixel_mask(mask, letterbox) or masks[index]
    return masks


def _one_pixel_mask(mask: Mask, letterbox: Letterbox) -> Mask | None:
    """Return the image pixel at the centroid of a mask in canvas px, or None for a mask that is empty there."""
    (height, width), (inner_height, inner_width) = letterbox.image_hw, letterbox.resized_hw
    left, top = letterbox.left, letterbox.top
    mask = mask.cropped(left, top, left + inner_width, top + inner_height)
    if not mask.area:
        return None
    y, x = np.argwhere(mask.pixels).mean(axis=0) + 0.5
    column, row = (x + mask.left - left) * width / inner_width, (y + mask.top - top) * height / inner_height
    return Mask(int(column), int(row), np.ones((1, 1), bool))


@dataclass(frozen=True, slots=True, eq=False)
class _SignChanges:
    """In which cells the logit changes its sign, in each of the w pixel columns of one box."""

    columns: slice
    rows: slice
    outside: BoolArray  # (cells, w) whether the logit at the upper prototype row of the cell is 0 or less
    cells: IndexArray  # (k,) flat indices into `outside` of the cells with a sign change
    upper: Float32Array  # (k,) the logits at the upper prototype row of those cells
    lower: Float32Array  # (k,) the logits at their lower prototype row


def _decode(
    coefficients: FloatArray,
    prototypes: FloatArray,
    boxes_xyxy: Float32Array,
    rows: RowCells,
    columns: Float64Array,
) -> list[Mask]:
    """Decode masks in any frame, whose pixel rows and columns lie at `rows` and `columns` on the prototypes."""
    if not len(boxes_xyxy):
        return []
    size_xyxy = np.array((len(columns), len(rows.cell)) * 2)
    pixel_boxes = np.clip(np.ceil(np.nan_to_num(boxes_xyxy)), 0, size_xyxy).astype(np.intp)
    pixel_boxes[:, 2:] = np.maximum(pixel_boxes[:, :2], pixel_boxes[:, 2:])
    widths, heights = (pixel_boxes[:, 2:] - pixel_boxes[:, :2]).T
    ends = np.cumsum(widths * heights)
    ensure_mask_pixels_allowed(int(ends[-1]))
    _ensure_cells_allowed(pixel_boxes, rows)
    with np.errstate(invalid="ignore", over="ignore"):  # a NaN logit compares as outside
        changes = _find_sign_changes(coefficients, prototypes, pixel_boxes, rows, columns)
        counts = _rows_before_change(changes, rows)

    pixels = np.empty(ends[-1], bool)  # for all masks, because many allocations cost several times as much
    scratch = np.empty((_BAND_PIXELS + rows.max_rows * int(widths.max(initial=0))), bool)
    masks = []
    for change, count, end in zip(changes, counts, ends.tolist(), strict=True):
        height, width = change.rows.stop - change.rows.start, change.columns.stop - change.columns.start
        mask = pixels[end - height * width : end].reshape(height, width)
        if mask.size:
            deadline.check()
            _rasterise(mask, change, count, rows, scratch)
        masks.append(Mask(change.columns.start, change.rows.start, mask))
    return masks


def _ensure_cells_allowed(pixel_boxes: IndexArray, rows: RowCells) -> None:
    """Check how many logits are computed for each box and for all, one in each cell and pixel column.

    These are fewer than pixels, unless the prototypes are finer than the pixels. `pixel_boxes` is (n, 4) xyxy.
    """
    left, top, right, bottom = pixel_boxes[pixel_boxes[:, 3] > pixel_boxes[:, 1]].T
    cells = (rows.cell[bottom - 1] - rows.cell[top] + 1) * (right - left)
    if len(cells) and (cells.max() > MAX_BOX_CELLS or cells.sum() > MAX_MASK_PIXELS):
        raise ImageTooLarge(
            f"The prototypes have {cells.max()} cells in the box of a segment (limit {MAX_BOX_CELLS}), and "
            f"{cells.sum()} in all boxes (limit {MAX_MASK_PIXELS}): use a model with smaller prototypes, or find "
            f"fewer segments (max_detections, confidence_threshold)"
        )


def _find_sign_changes(
    coefficients: FloatArray,
    prototypes: FloatArray,
    pixel_boxes: IndexArray,
    rows: RowCells,
    columns: Float64Array,
) -> list[_SignChanges]:
    """Upsample the logits along x only, and compare their signs between neighbouring prototype rows.

    `pixel_boxes` is (n, 4) xyxy in whole pixels.

    Raises:
        InvalidModel: There are more than `MAX_SIGN_CHANGES`.
        DeadlineExceeded: The event's deadline passed.
    """
    depth, mask_h, mask_w = prototypes.shape
    prototypes = prototypes.astype(np.float32, copy=False)
    coefficients = coefficients.astype(np.float32, copy=False)
    columns = np.clip(columns, 0, mask_w - 1)
    x0 = columns.astype(np.intp)
    x1 = np.minimum(x0 + 1, mask_w - 1)
    weight1 = (columns - x0).astype(np.float32)
    weight0 = np.float32(1) - weight1

    changes: list[_SignChanges] = []
    change_count = 0
    for weights, (left, top, right, bottom) in zip(coefficients, pixel_boxes.tolist(), strict=True):
        deadline.check()
        box_columns, box_rows = slice(left, right), slice(top, bottom)
        if left == right or top == bottom:
            none = np.empty(0, np.float32)
            empty = np.empty((0, 0), bool), np.empty(0, np.intp), none, none
            changes.append(_SignChanges(box_columns, box_rows, *empty))
            continue
        x_begin, x_end = x0.item(left), x1.item(right - 1) + 1
        above, below = rows.cell.item(top), rows.cell.item(bottom - 1) + 1
        y_begin, y_end = max(above, 0), min(below, mask_h - 1) + 1
        patch = np.ascontiguousarray(prototypes[:, y_begin:y_end, x_begin:x_end]).reshape(depth, -1)
        logits = (weights @ patch).reshape(y_end - y_begin, x_end - x_begin)
        if above < y_begin or below >= y_end:  # clamped edges: repeat the outermost prototype row
            logits = logits.take(np.clip(np.arange(above, below + 1), 0, mask_h - 1) - y_begin, axis=0)
        lines = logits.take(x0[box_columns] - x_begin, axis=1)
        lines *= weight0[box_columns]
        right_part = logits.take(x1[box_columns] - x_begin, axis=1)
        right_part *= weight1[box_columns]
        lines += right_part
        positive = lines > 0
        cells = np.flatnonzero(positive[:-1] != positive[1:])
        change_count += len(cells)
        if change_count > MAX_SIGN_CHANGES:
            raise InvalidModel(
                f"The masks of {len(coefficients)} segments change between inside and outside more than "
                f"{MAX_SIGN_CHANGES} times down their columns: {NOISE_ADVICE}"
            )
        upper, lower = lines.ravel(), lines.ravel()[right - left :]
        changes.append(
            _SignChanges(box_columns, box_rows, ~positive[:-1], cells, upper.take(cells), lower.take(cells))
        )
    return changes


def _rows_before_change(changes: list[_SignChanges], rows: RowCells) -> list[npt.NDArray[np.unsignedinteger]]:
    """Return for each mask (k,) the number of pixel rows above the sign change, in each cell that has one.

    From the logit a at the upper prototype row to b at the lower one, the line a + t (b - a) is zero at
    t = a / (a - b).
    """
    lengths = [len(change.cells) for change in changes]
    upper = np.concatenate([change.upper for change in changes]).astype(np.float64)
    lower = np.concatenate([change.lower for change in changes])
    cells = [
        change.cells // (change.columns.stop - change.columns.start)
        + (rows.cell[change.rows.start] - rows.cell[0])
        for change in changes
        if len(change.cells)
    ]
    start = rows.start.take(np.concatenate((*cells, np.empty(0, np.intp))))
    zero_row = (upper / (upper - lower) - start) / rows.step
    # A pixel row at exactly zero is outside, whether the object lies above or below it.
    count = np.where(upper > 0, np.ceil(zero_row), np.floor(zero_row) + 1)
    count = np.nan_to_num(np.clip(count, 0, rows.max_rows))
    smallest = np.uint8 if rows.max_rows <= np.iinfo(np.uint8).max else np.uint32
    return np.split(count.astype(smallest), np.cumsum(lengths)[:-1])


def _rasterise(
    mask: BoolArray,
    change: _SignChanges,
    count: npt.NDArray[np.unsignedinteger],
    rows: RowCells,
    scratch: BoolArray,
) -> None:
    """Write the pixels of one box into `mask`, a band of cells at a time.

    Each cell is first written with `max_rows` rows into `scratch`. From there, the rows that it has are copied.
    """
    cells, width = change.outside.shape
    rows_before = np.full((cells, width), rows.max_rows, count.dtype)
    rows_before.ravel()[change.cells] = count
    row_in_cell = np.arange(rows.max_rows, dtype=count.dtype)[:, None]
    source = (rows.cell[change.rows] - rows.cell[change.rows.start]) * rows.max_rows + rows.row_in_cell[
        change.rows
    ]
    step = _BAND_PIXELS // (rows.max_rows * width) + 1
    begin = 0
    for first in range(0, cells, step):
        band = rows_before[first : first + step, None]
        inside = scratch[: len(band) * rows.max_rows * width].reshape(len(band), rows.max_rows, width)
        np.less(row_in_cell, band, out=inside)  # as the upper prototype row is
        inside ^= change.outside[first : first + step, None]
        last_band = first + step >= cells
        end = len(source) if last_band else int(np.searchsorted(source, (first + step) * rows.max_rows))
        band_rows = source[begin:end] - first * rows.max_rows
        # In the default mode, `take` buffers the output and copies it a second time.
        inside.reshape(-1, width).take(band_rows, axis=0, out=mask[begin:end], mode="clip")
        begin = end
