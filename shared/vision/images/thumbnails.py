"""Pictures made smaller for lists and previews, antialiased. Knows no files."""

from __future__ import annotations

import numpy as np
from PIL import Image

from shared.vision.arrays import Pixels
from shared.vision.images.pixels import with_padding_byte


def thumbnail(picture: Pixels, long_side: int) -> Pixels:
    """(h, w, 3) with its longer side as long as that, its proportions kept; itself where it is no longer."""
    height, width = picture.shape[:2]
    if max(height, width) <= long_side:
        return picture
    scale = long_side / max(height, width)
    size_wh = max(round(width * scale), 1), max(round(height * scale), 1)
    pixels = np.ascontiguousarray(with_padding_byte(picture))
    image = Image.frombuffer("RGBX", (width, height), pixels, "raw", "RGBX", 0, 1)
    # reducing_gap: by whole pixels to three times the size first, which is fast and cannot be seen.
    smaller: Pixels = np.asarray(image.resize(size_wh, Image.Resampling.LANCZOS, reducing_gap=3.0))[..., :3]
    return smaller
