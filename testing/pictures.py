"""Makes image files of one colour."""

import io
from typing import Any

from PIL import Image


def picture(
    size_wh: tuple[int, int] = (64, 64), colour: str = "white", kind: str = "JPEG", **options: Any
) -> bytes:
    """Return a file of one colour; `options` are those of Pillow's save."""
    file = io.BytesIO()
    Image.new("RGB", size_wh, colour).save(file, kind, **options)
    return file.getvalue()
