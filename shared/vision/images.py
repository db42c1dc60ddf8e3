"""Reads image files into upright RGB arrays and writes JPEG. What a file is, its content says, not its name."""

from __future__ import annotations

import io
import warnings
from typing import Final

import numpy as np
import simplejpeg
from PIL import Image, ImageOps, UnidentifiedImageError, features

from shared.errors import ImageTooLarge, InvalidImage, UnsupportedImage
from shared.vision.pixels import Pixels, rgb_view, rgbx

FORMATS: Final = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", *(("AVIF",) if features.check("avif") else ()))
# How accepted files begin: one that does and cannot be opened is damaged rather than something else.
_MAGIC: Final = (b"\xff\xd8", b"\x89PNG", b"RIFF", b"II*\0", b"MM\0*", b"BM", b"GIF8")
# Pillow's opinions on metadata, and its softer limit of pixels: ours is checked from the header.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
_ORIENTATION: Final = 0x0112  # EXIF tag
_MAX_SIDE: Final = 65_500  # of a JPEG: the picture of the result could not be written


def decode(data: bytes, *, max_pixels: int) -> Pixels:
    """An image file's first frame as (h, w, 3) uint8 RGB, upright (EXIF orientation applied).

    Alpha is dropped, palettes and grey are expanded, of 16 bits the high byte is kept. Size and format are
    known from the header before a pixel is decoded.

    Raises:
        UnsupportedImage: not one of FORMATS.
        ImageTooLarge: more than `max_pixels`, or a side that no JPEG can have.
        InvalidImage: truncated or corrupt.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return _decode_opened(image, data, max_pixels)
    except UnidentifiedImageError as error:
        if not data:
            raise InvalidImage("The image is empty") from error
        if data.startswith(_MAGIC):
            raise InvalidImage("The image is truncated or corrupt") from error
        raise UnsupportedImage(f"The file is not one of the accepted formats: {', '.join(FORMATS)}") from error
    except Image.DecompressionBombError as error:
        raise ImageTooLarge(f"The image has more than {max_pixels} pixels") from error
    except (
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        IndexError,
        KeyError,
        TypeError,
        MemoryError,
    ) as error:
        raise InvalidImage("The image is truncated or corrupt") from error


def encode_jpeg(image: Pixels, *, quality: int = 85) -> bytes:
    """(h, w, 3) RGB as a JPEG file."""
    data: bytes = simplejpeg.encode_jpeg(
        np.ascontiguousarray(rgbx(image)),
        quality=quality,
        colorspace="RGBX",
        colorsubsampling="420",
        fastdct=False,
    )
    return data


def _decode_opened(image: Image.Image, data: bytes, max_pixels: int) -> Pixels:
    width, height = image.size
    if width * height > max_pixels:
        raise ImageTooLarge(f"The image has {width} x {height} pixels; the limit is {max_pixels}")
    if max(width, height) > _MAX_SIDE:
        raise ImageTooLarge(f"The image has {width} x {height} pixels; the limit of a side is {_MAX_SIDE}")
    if image.format in {"JPEG", "MPO"} and image.mode in {"RGB", "L"}:
        pixels = _decode_jpeg(data)
        if pixels is not None:
            return _upright(pixels, image.getexif().get(_ORIENTATION, 1))
    if image.mode.startswith("I;16"):
        high = (np.asarray(image) >> 8).astype(np.uint8)
        return _upright(np.repeat(high[..., None], 4, axis=2), image.getexif().get(_ORIENTATION, 1))
    upright = ImageOps.exif_transpose(image)
    if upright.mode in {"LA", "PA"} or (upright.mode == "P" and "transparency" in upright.info):
        upright = upright.convert("RGBA")
    return rgb_view(np.asarray(upright if upright.mode == "RGBA" else upright.convert("RGB").convert("RGBX")))


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    """Undo one of EXIF's eight orientations of (h, w, 4), and give the view of three."""
    turned = pixels.swapaxes(0, 1) if orientation in {5, 6, 7, 8} else pixels
    if orientation in {3, 4, 7, 8}:
        turned = turned[::-1]
    if orientation in {2, 3, 6, 7}:
        turned = turned[:, ::-1]
    return rgb_view(np.ascontiguousarray(turned))


def _decode_jpeg(data: bytes) -> Pixels | None:
    """(h, w, 4). Pillow's pixels at a third of the time: they are written where they stay.

    None where it finds fault with the file: Pillow forgives more, and knows what is truncated.
    """
    try:
        pixels: Pixels = simplejpeg.decode_jpeg(data, colorspace="RGBX", fastdct=False, fastupsample=False)
    except ValueError:
        return None
    return pixels
