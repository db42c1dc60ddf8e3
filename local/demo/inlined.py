"""Turns annotated pictures into data URIs small enough for one page. It knows no HTML."""

import base64
import io
from dataclasses import dataclass

from PIL import Image

THUMB_PX = 640  # the wider side of a card on a dense display
THUMB_QUALITY = 72
LARGE_BYTES = 360_000  # a dozen and a half of them stay below 8 MB, written in base64
LARGE = ((1600, 80), (1600, 70), (1400, 70), (1200, 70), (1000, 65))  # long side px and quality, best first


@dataclass(frozen=True)
class Inlined:
    """A picture twice: for the grid, and to look at."""

    thumb: str
    large: str
    size_wh: tuple[int, int]  # of the large one


def inlined(picture: bytes) -> Inlined:
    """From the JPEG that a result carries."""
    with Image.open(io.BytesIO(picture)) as opened:
        opened.draft("RGB", (2 * LARGE[0][0], 2 * LARGE[0][0]))  # decode 4000 px at half or a quarter
        image = opened.convert("RGB")
    large, size_wh = b"", image.size
    for side_px, quality in LARGE:
        large, size_wh = _jpeg(image, side_px, quality)
        if len(large) <= LARGE_BYTES:
            break
    thumb, _ = _jpeg(image, THUMB_PX, THUMB_QUALITY)
    return Inlined(_uri(thumb), _uri(large), size_wh)


def _jpeg(image: Image.Image, side_px: int, quality: int) -> tuple[bytes, tuple[int, int]]:
    small = image.copy()
    small.thumbnail((side_px, side_px), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    small.save(file, "JPEG", quality=quality, optimize=True, progressive=True)
    return file.getvalue(), small.size


def _uri(data: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
