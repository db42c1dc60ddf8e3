"""Reads image files into upright RGB arrays and writes JPEG. What a file is, its content says, not its name."""

from __future__ import annotations

import io
import re
import struct
import warnings
import zlib
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError, features

from shared.errors import ImageTooLarge, InvalidImage, UnsupportedImage
from shared.vision.arrays import Pixels, SizeHW
from shared.vision.images.jpeg_scans import has_more_scans
from shared.vision.images.pixel_budget import PixelBudget
from shared.vision.images.pixels import rgb_view, with_padding_byte

FORMATS: Final = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", *(("AVIF",) if features.check("avif") else ()))
# How accepted files begin: one that does and cannot be opened is damaged rather than something else.
_MAGIC: Final = re.compile(rb"\xff\xd8|\x89PNG|RIFF|II[*+]\0|MM\0[*+]|BM|GIF8", re.DOTALL)
_AVIF: Final = re.compile(rb"....ftypavi[fs]", re.DOTALL)
# What Pillow's plug-ins and the libraries below them raise: they have no error in common.
_DAMAGED: Final = (
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    LookupError,
    TypeError,
    ArithmeticError,
    RuntimeError,
    MemoryError,
    struct.error,
    zlib.error,
)
# Pillow's opinions on metadata, and its softer limit of pixels: ours is checked from the header.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
_ORIENTATION: Final = 0x0112  # EXIF tag
_TILE_WIDTH, _TILE_LENGTH = 322, 323  # TIFF tags
_TURNED: Final = {5, 6, 7, 8}  # its values where rows are columns
_UPSIDE_DOWN: Final = {3, 4, 7, 8}  # where, after that, the last row is the first
_MIRRORED: Final = {2, 3, 6, 7}  # where the last column is
_MAX_SIDE: Final = 65_500  # of a JPEG: the picture of the result could not be written
_MAX_SCANS: Final = 100  # of a JPEG, as in libtiff: encoders make some ten, and each is a pass over all pixels
_MAX_TILE: Final = (
    2**22
)  # px of a TIFF's tile, where the image has fewer: it is made whole, however little is used
BUDGET: Final = PixelBudget()  # of all images that are being decoded: one of the largest, or several smaller ones


def decode(data: bytes, *, max_pixels: int) -> Pixels:
    """As `read`, in its own size."""
    return read(data, max_pixels=max_pixels)[0]


def read(
    data: bytes, *, max_pixels: int, least_hw: Callable[[SizeHW], SizeHW] | None = None
) -> tuple[Pixels, SizeHW]:
    """An image file's first frame as (h, w, 3) uint8 RGB, upright (EXIF orientation applied), and its true size.

    `least_hw` gives the least size that is needed of an image of a size: a JPEG may then come at a half, a quarter
    or an eighth of its own (sides rounded up), averaged by its decoder, which takes a half to three quarters of
    the time. Its other scales take longer than its own size.

    Alpha is dropped, palettes and grey are expanded, of 16 bits the high byte is kept. Size and format are
    known from the header before a pixel is decoded. No more than `max_pixels` are decoded at once, in all threads.

    Raises:
        UnsupportedImage: not one of FORMATS.
        ImageTooLarge: more than `max_pixels`, or a side that no JPEG can have.
        InvalidImage: truncated or corrupt.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return _read_opened(image, data, max_pixels, least_hw)
    except UnidentifiedImageError as error:
        if not data:
            raise InvalidImage("The image is empty") from error
        if _MAGIC.match(data) or ("AVIF" in FORMATS and _AVIF.match(data)):
            raise InvalidImage("The image is truncated or corrupt") from error
        raise UnsupportedImage(f"The file is not one of the accepted formats: {', '.join(FORMATS)}") from error
    except Image.DecompressionBombError as error:
        raise ImageTooLarge(f"The image has more than {max_pixels} pixels") from error
    except _DAMAGED as error:
        raise InvalidImage("The image is truncated or corrupt") from error


def encode_jpeg(image: Pixels, *, quality: int = 85) -> bytes:
    """(h, w, 3) RGB as a JPEG file."""
    data: bytes = simplejpeg.encode_jpeg(
        np.ascontiguousarray(with_padding_byte(image)),
        quality=quality,
        colorspace="RGBX",
        colorsubsampling="420",
        fastdct=False,
    )
    return data


def _read_opened(
    image: Image.Image, data: bytes, max_pixels: int, least_hw: Callable[[SizeHW], SizeHW] | None
) -> tuple[Pixels, SizeHW]:
    width, height = image.size
    if width * height > max_pixels:
        raise ImageTooLarge(f"The image has {width} x {height} pixels; the limit is {max_pixels}")
    if max(width, height) > _MAX_SIDE:
        raise ImageTooLarge(f"The image has {width} x {height} pixels; the limit of a side is {_MAX_SIDE}")
    if image.format in {"JPEG", "MPO"} and has_more_scans(data, _MAX_SCANS):
        raise InvalidImage(f"The image has more than {_MAX_SCANS} scans")
    if image.format == "TIFF" and _tile_area(image) > max(width * height, _MAX_TILE):
        raise InvalidImage("The image has tiles that are much larger than itself")
    with BUDGET.reserve(width * height, most=max_pixels):
        return _decode(image, data, least_hw)


def _decode(image: Image.Image, data: bytes, least_hw: Callable[[SizeHW], SizeHW] | None) -> tuple[Pixels, SizeHW]:
    width, height = image.size
    if image.format in {"JPEG", "MPO"} and image.mode in {"RGB", "L"}:
        orientation = image.getexif().get(_ORIENTATION, 1)
        upright_hw = (width, height) if orientation in _TURNED else (height, width)
        times = _times(upright_hw, least_hw(upright_hw), orientation) if least_hw else 1
        pixels = _decode_jpeg(data, (-(-height // times), -(-width // times)))
        if pixels is not None:
            return _upright(pixels, orientation), upright_hw
    upright = _decode_otherwise(image)
    return upright, (upright.shape[0], upright.shape[1])


def _tile_area(image: Any) -> int:
    """Of a TIFF, px. Its tags by number: Pillow's reader of TIFF is not worth 5 ms of every start."""
    width, height = (image.tag_v2.get(tag, 0) for tag in (_TILE_WIDTH, _TILE_LENGTH))
    return int(width) * int(height)


def _decode_otherwise(image: Image.Image) -> Pixels:
    """One copy after the other is let go: of a large image each is hundreds of megabytes."""
    orientation = image.getexif().get(_ORIENTATION, 1)
    if image.format == "TIFF":
        orientation = 1  # Pillow turns those itself
    if image.mode.startswith("I;16"):
        high = (np.asarray(image) >> 8).astype(np.uint8)
        return _upright(np.repeat(high[..., None], 4, axis=2), orientation)
    has_alpha = image.mode in {"LA", "PA", "RGBA"} or (image.mode == "P" and "transparency" in image.info)
    for mode in ["RGBA"] if has_alpha else ["RGB", "RGBX"]:
        if image.mode != mode:
            before, image = image, image.convert(mode)
            before.close()
    return _upright(np.asarray(image), orientation)


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    """Undo one of EXIF's eight orientations of (h, w, 4), and give the view of three."""
    turned = pixels.swapaxes(0, 1) if orientation in _TURNED else pixels
    if orientation in _UPSIDE_DOWN:
        turned = turned[::-1]
    if orientation in _MIRRORED:
        turned = turned[:, ::-1]
    return rgb_view(np.ascontiguousarray(turned))


def _times(image_hw: SizeHW, least_hw: SizeHW, orientation: int) -> int:
    """How many px of an upright JPEG may be one when it is decoded: 8, 4, 2 or 1.

    Of an image whose sides are no multiple of that, the last pixel stands for less. Turned around it would be the
    first, and everything after it not where it belongs.
    """
    (height, width), (least_height, least_width) = image_hw, least_hw
    for times in (8, 4, 2):
        large_enough = height >= times * least_height and width >= times * least_width
        shifted = (orientation in _UPSIDE_DOWN and height % times) or (orientation in _MIRRORED and width % times)
        if large_enough and not shifted:
            return times
    return 1


def _decode_jpeg(data: bytes, size_hw: SizeHW) -> Pixels | None:
    """(h, w, 4), at the least scale that has `size_hw`: Pillow's pixels at a third of the time.

    They are written where they stay. None where it finds fault with the file: Pillow forgives more, and knows what
    is truncated.
    """
    try:
        pixels: Pixels = simplejpeg.decode_jpeg(
            data,
            colorspace="RGBX",
            fastdct=False,
            fastupsample=False,
            min_height=size_hw[0],
            min_width=size_hw[1],
        )
    except ValueError:
        return None
    return pixels
