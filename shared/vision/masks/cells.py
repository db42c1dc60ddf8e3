"""Locates the pixels of a frame in the cells of prototypes, which are usually larger than pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shared.vision.arrays import Float64Array, IndexArray


@dataclass(frozen=True, slots=True, eq=False)
class RowCells:
    """Which cell each of the h pixel rows of a frame lies in: a cell is the gap between two prototype rows."""

    cell: IndexArray  # (h,) the prototype row above the pixel row, -1 above the first prototype row
    row_in_cell: IndexArray  # (h,) 0 for the first pixel row of a cell, 1 for the next, ...
    start: Float64Array  # (cells,) distance from the prototype row to the first pixel row, in cells
    step: float  # distance from one pixel row to the next, in cells
    max_rows: int  # the largest number of pixel rows in a cell

    @classmethod
    def of(cls, length: int, scale: float, offset: float) -> RowCells:
        """Return the cells of `length` rows, `scale` cells apart, the first of which begins at `offset` cells."""
        positions = centres(length, scale, offset)
        floor = np.floor(positions)
        cell = floor.astype(np.intp)
        first = np.searchsorted(cell, np.arange(cell[0], cell[-1] + 1))
        row_in_cell = np.arange(length) - first[cell - cell[0]]
        return cls(cell, row_in_cell, (positions - floor)[first], scale, int(row_in_cell.max()) + 1)


def centres(length: int, scale: float, offset: float) -> Float64Array:
    """Return the centres of `length` pixels in prototype cells, counted from the centre of the first cell."""
    return (np.arange(length, dtype=np.float64) + 0.5) * scale + (offset - 0.5)
