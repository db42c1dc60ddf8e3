"""Turn annotated pictures into data URIs that are small enough for one page."""

import base64
import io
from dataclasses import dataclass

from PIL import Image

THUMBNAIL_PX = 640  # width of a card on a display with two pixels per CSS pixel
THUMBNAIL_QUALITY = 72
MAX_LARGE_BYTES = 360_000  # keeps a page of eighteen pictures below 8 MB in base64
LARGE_ENCODINGS = ((1600, 80), (1600, 70), (1400, 70), (1200, 70), (1000, 65))  # longer side px, JPEG quality


@dataclass(frozen=True)
class EmbeddedPicture:
    """A picture as two data URIs: a thumbnail and a large version."""

    thumbnail: str
    large: str
    size_wh: tuple[int, int]  # of the large version


def embed_picture(jpeg: bytes) -> EmbeddedPicture:
    """Return both versions of an annotated picture.

    The large version has the first of LARGE_ENCODINGS that keeps it below MAX_LARGE_BYTES, or the last one.
    """
    with Image.open(io.BytesIO(jpeg)) as opened:
        opened.draft("RGB", (2 * LARGE_ENCODINGS[0][0], 2 * LARGE_ENCODINGS[0][0]))  # decode 4000 px at 1/2 or 1/4
        image = opened.convert("RGB")
    large, size_wh = b"", image.size
    for side_px, quality in LARGE_ENCODINGS:
        large, size_wh = _jpeg(image, side_px, quality)
        if len(large) <= MAX_LARGE_BYTES:
            break
    thumbnail, _ = _jpeg(image, THUMBNAIL_PX, THUMBNAIL_QUALITY)
    return EmbeddedPicture(_data_uri(thumbnail), _data_uri(large), size_wh)


def _jpeg(image: Image.Image, side_px: int, quality: int) -> tuple[bytes, tuple[int, int]]:
    """Return the image as a JPEG file whose longer side is at most `side_px`, and its size."""
    small = image.copy()
    small.thumbnail((side_px, side_px), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    small.save(file, "JPEG", quality=quality, optimize=True, progressive=True)
    return file.getvalue(), small.size


def _data_uri(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
