"""Reads image files into upright RGB arrays and writes JPEG. What a file is, its content says, not its name."""

from __future__ import annotations

import io
import warnings
from typing import Final

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image, ImageOps, UnidentifiedImageError, features

from shared.errors import ImageTooLarge, InvalidImage, UnsupportedImage

Pixels = npt.NDArray[np.uint8]

FORMATS: Final = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", *(("AVIF",) if features.check("avif") else ()))
_ORIENTATION: Final = 0x0112  # EXIF tag
_UPRIGHT: Final = (0, 1)


def decode(data: bytes, *, max_pixels: int) -> Pixels:
    """An image file's first frame as (h, w, 3) uint8 RGB, upright (EXIF orientation applied).

    Alpha is dropped, palettes and grey are expanded, of 16 bits the high byte is kept. Size and format are
    known from the header before a pixel is decoded.

    Raises:
        UnsupportedImage: not one of FORMATS.
        ImageTooLarge: more than `max_pixels`.
        InvalidImage: truncated or corrupt.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's opinions on metadata; our own limit stands for its bomb check
        try:
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                return _decode_opened(image, data, max_pixels)
        except UnidentifiedImageError as error:
            if not data:
                raise InvalidImage("The image is empty") from error
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
        np.ascontiguousarray(image), quality=quality, colorspace="RGB", colorsubsampling="420", fastdct=False
    )
    return data


def _decode_opened(image: Image.Image, data: bytes, max_pixels: int) -> Pixels:
    width, height = image.size
    if width * height > max_pixels:
        raise ImageTooLarge(f"The image has {width} x {height} pixels; the limit is {max_pixels}")
    orientation = image.getexif().get(_ORIENTATION, 1)
    if image.format in {"JPEG", "MPO"} and image.mode in {"RGB", "L"}:
        pixels = _decode_jpeg(data)
        if pixels is not None and orientation in _UPRIGHT:
            return pixels
        if pixels is not None:
            return np.asarray(ImageOps.exif_transpose(_with_orientation(pixels, orientation)))
    if image.mode.startswith("I;16"):
        wide = np.asarray(image)
        high = (wide >> 8).astype(np.uint8)
        image = _with_orientation(np.repeat(high[..., None], 3, axis=2), orientation)
    upright = ImageOps.exif_transpose(image)
    if upright.mode == "P":
        upright = upright.convert("RGBA" if "transparency" in upright.info else "RGB")
    elif upright.mode in {"LA", "PA"}:
        upright = upright.convert("RGBA")
    return np.array(upright.convert("RGB"))


def _with_orientation(pixels: Pixels, orientation: int) -> Image.Image:
    image = Image.fromarray(pixels)
    image.getexif()[_ORIENTATION] = orientation
    return image


def _decode_jpeg(data: bytes) -> Pixels | None:
    """simplejpeg's pixels are Pillow's at a third of the time: it writes 3-byte pixels straight away.

    None where it finds fault with the file: Pillow forgives more, and knows what is truncated.
    """
    try:
        pixels: Pixels = simplejpeg.decode_jpeg(data, colorspace="RGB", fastdct=False, fastupsample=False)
    except ValueError:
        return None
    return pixels
