"""Decodes image files into upright RGB arrays, and encodes JPEG.

The format of a file is known from its content, never from its name. Pillow reads all headers, and the pixels of
every format but JPEG. simplejpeg (libjpeg-turbo) decodes JPEG: it gives Pillow's pixels in a third of the time.
"""

from __future__ import annotations

import io
import re
import struct
import threading
import warnings
import zlib
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError, features

from shared.errors import DeadlineExceeded, ImageTooLarge, InvalidImage, UnsupportedImage, shortage
from shared.runtime import deadline
from shared.vision.arrays import Pixels, SizeHW
from shared.vision.images.pixels import rgb_view, with_padding_byte

FORMATS: Final = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", *(("AVIF",) if features.check("avif") else ()))
MAX_SIDE_PX: Final = 65_500  # libjpeg's maximum: an annotated picture is written as JPEG
MAX_JPEG_SCANS: Final = 100  # as in libtiff; encoders make about ten, and each is a pass over all pixels
MAX_TIFF_TILE_PX: Final = (
    2**22
)  # of a tile larger than the image: it is decoded whole, however little of it is used

# The first bytes of accepted formats. A file that has them and cannot be opened is damaged, not unsupported.
_SIGNATURE: Final = re.compile(rb"\xff\xd8|\x89PNG|RIFF|II[*+]\0|MM\0[*+]|BM|GIF8", re.DOTALL)
_AVIF_SIGNATURE: Final = re.compile(rb"....ftypavi[fs]", re.DOTALL)
# What Pillow's plug-ins and the libraries below them raise for damaged files: they have no base class in common.
_DECODE_ERRORS: Final = (
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
# TIFF and EXIF tags by number, because importing Pillow's tables adds 5 ms to every start.
_ORIENTATION_TAG: Final = 0x0112
_TILE_WIDTH_TAG, _TILE_LENGTH_TAG = 322, 323
# EXIF orientations by what undoes them: first a transposition, then flips.
_TRANSPOSED: Final = {5, 6, 7, 8}
_FLIPPED_VERTICALLY: Final = {3, 4, 7, 8}
_FLIPPED_HORIZONTALLY: Final = {2, 3, 6, 7}
# JPEG markers (ITU-T T.81, table B.1).
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_SEQUENTIAL_FRAMES: Final = {0xC0, 0xC1, 0xC9}  # frames that code each component once
# In compressed data 0xff is followed by 0 or a restart marker, so this finds the end of it as well.
_MARKER: Final = re.compile(rb"\xff([^\x00\x01\xff\xd0-\xd8])")


class PixelBudget:
    """A weighted semaphore, first in, first out, that bounds how many pixels all threads decode at once.

    Decoding takes several times the memory that the decoded pixels keep. A reservation waits for all that were
    made before it, so that no number of small images can keep a large one waiting.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._reserved = 0
        self._queue: deque[object] = deque()  # the reservations that wait, in the order in which they were made

    @contextmanager
    def reserve(self, pixels: int, *, limit: int) -> Generator[None]:
        """Block until `pixels` fit under `limit`, or nothing else is reserved, and hold them in the context.

        Raises:
            DeadlineExceeded: The event's deadline passed while waiting.
        """
        with self._changed:
            self._wait(lambda: not self._reserved or self._reserved + pixels <= limit)
            self._reserved += pixels
        try:
            yield
        finally:
            with self._changed:
                self._reserved -= pixels
                self._changed.notify_all()

    def _wait(self, fits: Callable[[], bool]) -> None:
        ticket = object()
        self._queue.append(ticket)
        try:
            timeout_s = deadline.remaining_s(at_most=threading.TIMEOUT_MAX)
            if not self._changed.wait_for(lambda: self._queue[0] is ticket and fits(), timeout_s):
                raise DeadlineExceeded("The event deadline passed before the image could be decoded")
        finally:
            self._queue.remove(ticket)
            self._changed.notify_all()  # the next in the queue may fit as well


PIXEL_BUDGET: Final = PixelBudget()


def ignore_pillow_warnings() -> None:
    """Keep Pillow's warnings off stderr, in the whole process: to be called once, at its start.

    They report damaged metadata, which is not an error here, and large images, whose size `decode_downscaled`
    checks against its own limit. `warnings.catch_warnings` is no alternative, because it is not thread-safe.
    """
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def decode(data: bytes, *, max_pixels: int) -> Pixels:
    """Decode an image file at full resolution; see `decode_downscaled`."""
    return decode_downscaled(data, max_pixels=max_pixels)[0]


def decode_downscaled(
    data: bytes, *, max_pixels: int, min_size_hw: Callable[[SizeHW], SizeHW] | None = None
) -> tuple[Pixels, SizeHW]:
    """Decode the first frame of an image file, a JPEG at the smallest sufficient scale.

    libjpeg can decode a JPEG at 1/2, 1/4 or 1/8 (sides rounded up), in a half to three quarters of the time. Each
    pixel is then the mean of a block. Its other scales take longer than full resolution.

    The EXIF orientation is applied. Alpha is dropped, palettes and grey become RGB, and of 16 bits a channel the
    high byte is kept. Format and size are checked in the header, before any pixel is decoded. All threads
    together decode no more than `max_pixels` at once.

    Args:
        data: The file.
        max_pixels: The most pixels that the image may have, at full resolution.
        min_size_hw: Gives for the upright size of an image the smallest size that is sufficient. Without it,
            images are decoded at full resolution.

    Returns:
        The pixels, (h, w, 3) uint8 RGB, and the upright (height, width) at full resolution.

    Raises:
        UnsupportedImage: The file is of none of the accepted formats.
        ImageTooLarge: The image has more than `max_pixels`, or a side longer than MAX_SIDE_PX.
        InvalidImage: The file is truncated or damaged.
        DeadlineExceeded: The event's deadline passed while other images were decoded.
        InstanceExhausted: The instance has no memory left at the moment.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return _decode_opened(image, data, max_pixels, min_size_hw)
    except UnidentifiedImageError as error:
        if not data:
            raise InvalidImage("The image is empty") from error
        if _SIGNATURE.match(data) or ("AVIF" in FORMATS and _AVIF_SIGNATURE.match(data)):
            raise InvalidImage("The image is truncated or corrupt") from error
        raise UnsupportedImage(f"The file is not one of the accepted formats: {', '.join(FORMATS)}") from error
    except Image.DecompressionBombError as error:
        raise ImageTooLarge(f"The image has more than {max_pixels} pixels") from error
    except _DECODE_ERRORS as error:
        raise shortage(error) or InvalidImage("The image is truncated or corrupt") from error


def encode_jpeg(image: Pixels, *, quality: int = 85) -> bytes:
    """Encode (h, w, 3) uint8 RGB as a JPEG file."""
    data: bytes = simplejpeg.encode_jpeg(
        np.ascontiguousarray(with_padding_byte(image)),
        quality=quality,
        colorspace="RGBX",
        colorsubsampling="420",
        fastdct=False,
    )
    return data


def has_more_scans(data: bytes, limit: int) -> bool:
    """Return whether the first image of a JPEG file has more than `limit` scans, without decoding any of them.

    Scans of images inside the metadata and behind the end of the image are not counted (ITU-T T.81, B.1 and B.2).
    """
    scans, position, components = 0, 2, -1
    while scans <= limit and (match := _MARKER.search(data, position)):
        marker, segment = match[1][0], match.end()
        if marker == _END_OF_IMAGE:
            return False
        if marker in _SEQUENTIAL_FRAMES:
            components = int.from_bytes(data[segment + 7 : segment + 8])
        if marker == _START_OF_SCAN:
            if scans == 0 and int.from_bytes(data[segment + 2 : segment + 3]) == components:
                return False  # the first scan has all components: no decoder reads more, and the search ends early
            scans += 1
        position = segment + max(int.from_bytes(data[segment : segment + 2]), 2)
    return scans > limit


def _decode_opened(
    image: Image.Image, data: bytes, max_pixels: int, min_size_hw: Callable[[SizeHW], SizeHW] | None
) -> tuple[Pixels, SizeHW]:
    """Check the limits in the header, reserve the pixels and decode them."""
    width, height = image.size
    if width * height > max_pixels:
        raise ImageTooLarge(f"The image has {width} x {height} pixels; the limit is {max_pixels}")
    if max(width, height) > MAX_SIDE_PX:
        raise ImageTooLarge(f"The image has {width} x {height} pixels; the limit of a side is {MAX_SIDE_PX}")
    is_jpeg = image.format in {"JPEG", "MPO"}
    if is_jpeg and has_more_scans(data, MAX_JPEG_SCANS):
        raise InvalidImage(f"The image has more than {MAX_JPEG_SCANS} scans")
    if image.format == "TIFF" and _tiff_tile_area(image) > max(width * height, MAX_TIFF_TILE_PX):
        raise InvalidImage("The image has tiles that are much larger than itself")
    with PIXEL_BUDGET.reserve(width * height, limit=max_pixels):
        if is_jpeg and image.mode in {"RGB", "L"}:
            orientation = image.getexif().get(_ORIENTATION_TAG, 1)
            upright_hw = (width, height) if orientation in _TRANSPOSED else (height, width)
            factor = _jpeg_downscale_factor(upright_hw, min_size_hw(upright_hw), orientation) if min_size_hw else 1
            pixels = _decode_with_simplejpeg(data, (-(-height // factor), -(-width // factor)))
            if pixels is not None:
                return _upright(pixels, orientation), upright_hw
        upright = _decode_with_pillow(image)
        return upright, (upright.shape[0], upright.shape[1])


def _tiff_tile_area(image: Any) -> int:
    width, height = (image.tag_v2.get(number, 0) for number in (_TILE_WIDTH_TAG, _TILE_LENGTH_TAG))
    return int(width) * int(height)


def _jpeg_downscale_factor(image_hw: SizeHW, min_hw: SizeHW, orientation: int) -> int:
    """Return how many times smaller an upright JPEG can be decoded so that it has `min_hw`: 8, 4, 2 or 1.

    If a side is no multiple of the factor, the last pixel is the mean of fewer pixels. A flip would make it the
    first one and shift all others, so such an image is decoded at a larger scale.
    """
    (height, width), (min_height, min_width) = image_hw, min_hw
    for factor in (8, 4, 2):
        large_enough = height >= factor * min_height and width >= factor * min_width
        shifted = (orientation in _FLIPPED_VERTICALLY and height % factor) or (
            orientation in _FLIPPED_HORIZONTALLY and width % factor
        )
        if large_enough and not shifted:
            return factor
    return 1


def _decode_with_simplejpeg(data: bytes, size_hw: SizeHW) -> Pixels | None:
    """Decode a JPEG to (h, w, 4) at the smallest scale that has `size_hw`, not yet upright.

    Returns None for a file that libjpeg-turbo rejects. Pillow tolerates more, and recognises truncated files.
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


def _decode_with_pillow(image: Image.Image) -> Pixels:
    """Convert an opened image to upright (h, w, 3) uint8 RGB.

    Each intermediate copy is released at once: of a large image it has hundreds of megabytes.
    """
    orientation = image.getexif().get(_ORIENTATION_TAG, 1)
    if image.format == "TIFF":
        orientation = 1  # Pillow applies it while it loads a TIFF
    if image.mode.startswith("I;16"):
        high_byte = (np.asarray(image) >> 8).astype(np.uint8)
        return _upright(np.repeat(high_byte[..., None], 4, axis=2), orientation)
    has_alpha = image.mode in {"LA", "PA", "RGBA"} or (image.mode == "P" and "transparency" in image.info)
    for mode in ["RGBA"] if has_alpha else ["RGB", "RGBX"]:
        if image.mode != mode:
            before, image = image, image.convert(mode)
            before.close()
    return _upright(np.asarray(image), orientation)


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    """Undo an EXIF orientation of (h, w, 4), and return the (h, w, 3) view."""
    upright = pixels.swapaxes(0, 1) if orientation in _TRANSPOSED else pixels
    if orientation in _FLIPPED_VERTICALLY:
        upright = upright[::-1]
    if orientation in _FLIPPED_HORIZONTALLY:
        upright = upright[:, ::-1]
    return rgb_view(np.ascontiguousarray(upright))
