"""The array types of `shared`, by their element types.

Shapes, frames and units are documented where an array is made.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating]  # in the precision of the model's file
Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]
IndexArray = npt.NDArray[np.intp]
BoolArray = npt.NDArray[np.bool_]
Pixels = npt.NDArray[np.uint8]  # (h, w, 3) RGB, or (h, w, 4) with a padding byte
PackedPixels = npt.NDArray[np.uint32]  # (h, w) of one 32-bit number for each pixel

SizeHW = tuple[int, int]  # (height, width), px
