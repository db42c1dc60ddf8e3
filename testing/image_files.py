"""Makes small image files of every accepted format and mode, and hostile ones."""

import io
import re
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image, features

SIZE_WH = (17, 13)
_NOISE = Image.fromarray(np.random.default_rng(1).integers(0, 256, (*SIZE_WH[::-1], 3), np.uint8))


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    """Return the file of an image; `options` are those of Pillow's save."""
    file = io.BytesIO()
    image.copy().save(file, kind, **options)
    return file.getvalue()


def exif(orientation: int = 6) -> Image.Exif:
    """Return EXIF metadata with an orientation, a maker and a date."""
    metadata = Image.Exif()
    metadata[0x0112], metadata[0x010F], metadata[0x8769] = orientation, "maker", {0x9003: "2026:11:20 08:00:00"}
    return metadata


def samples() -> dict[str, bytes]:
    """Return valid files, each by the name of its format and variant."""
    files = {"JPEG": saved(_NOISE, "JPEG"), "JPEG progressive": saved(_NOISE, "JPEG", progressive=True)}
    files["JPEG with EXIF"] = saved(_NOISE, "JPEG", exif=exif())
    files["MPO"] = saved(_NOISE, "MPO", **_two_frames())
    for mode in ("L", "CMYK"):
        files[f"JPEG {mode}"] = saved(_NOISE.convert(mode), "JPEG")
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA"):
        files[f"PNG {mode}"] = saved(_NOISE.convert(mode), "PNG", exif=exif())
    files["PNG I;16"] = saved(Image.fromarray(np.full(SIZE_WH[::-1], 5000, np.uint16)), "PNG")
    files["PNG of two frames"] = saved(_NOISE, "PNG", **_two_frames())
    files["WebP"] = saved(_NOISE, "WEBP", exif=exif())
    files["WebP lossless"] = saved(_NOISE.convert("RGBA"), "WEBP", lossless=True)
    files["WebP of two frames"] = saved(_NOISE, "WEBP", **_two_frames())
    for mode in ("1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I", "F"):
        files[f"TIFF {mode}"] = saved(_NOISE.convert(mode), "TIFF")
    for compression in ("tiff_lzw", "tiff_deflate", "packbits", "jpeg", "lzma", "zstd"):
        files[f"TIFF {compression}"] = saved(_NOISE, "TIFF", compression=compression)
    files["TIFF group4"] = saved(_NOISE.convert("1"), "TIFF", compression="group4")
    files["BigTIFF"] = saved(_NOISE, "TIFF", big_tiff=True)
    files["TIFF of two frames"] = saved(_NOISE, "TIFF", **_two_frames())
    for mode in ("1", "L", "P", "RGB", "RGBA"):
        files[f"BMP {mode}"] = saved(_NOISE.convert(mode), "BMP")
    files["GIF"] = saved(_NOISE, "GIF")
    files["GIF of two frames"] = saved(_NOISE, "GIF", **_two_frames())
    if features.check("avif"):
        files["AVIF"] = saved(_NOISE, "AVIF", exif=exif())
        files["AVIF with alpha"] = saved(_NOISE.convert("RGBA"), "AVIF")
    return files


def _two_frames() -> dict[str, Any]:
    """Return options for a second frame. The image is new each time: Pillow's save changes images it is given."""
    return {"save_all": True, "append_images": [_NOISE.rotate(90)]}


def jpeg_of_scans(count: int, size_wh: tuple[int, int] = (64, 64), *, progressive: bool = True) -> bytes:
    """Return a JPEG in which one scan is repeated until there are `count`."""
    data = saved(Image.new("RGB", size_wh), "JPEG", progressive=progressive)
    starts = [match.start() for match in re.finditer(rb"\xff\xda", data)]
    if not progressive:
        return data[: starts[0]] + data[starts[0] : -2] * count + data[-2:]
    return data[: starts[1]] + data[starts[1] : starts[2]] * (count - len(starts) + 1) + data[starts[2] :]


def jpeg_with(*segments: tuple[int, bytes]) -> bytes:
    """Return a JPEG with these (marker, content) segments before all others."""
    data = saved(_NOISE, "JPEG")
    return (
        data[:2]
        + b"".join(struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content for marker, content in segments)
        + data[2:]
    )


def png_with(kind: bytes, content: bytes, count: int = 1) -> bytes:
    """Return a PNG with `count` equal chunks after its header."""
    data = saved(_NOISE, "PNG")
    chunk = struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    return data[:33] + chunk * count + data[33:]


def greedy_exif(entries: int = 5000, entry_bytes: int = 200_000) -> bytes:
    """Return EXIF whose entries all claim the same `entry_bytes` bytes."""
    table = b"".join(struct.pack("<HHII", 0x8000 + index, 1, entry_bytes, 8) for index in range(entries))
    return (b"II*\0" + struct.pack("<IH", 8, entries) + table + b"\0\0\0\0").ljust(entry_bytes + 8, b"\0")


def recursive_exif() -> bytes:
    """Return EXIF whose sub-directories and next directory are itself."""
    table = struct.pack("<HHII", 0x8769, 4, 1, 8) + struct.pack("<HHII", 0x8825, 4, 1, 8)
    return b"II*\0" + struct.pack("<IH", 8, 2) + table + struct.pack("<I", 8)


def tiff_of_one_tile(size_wh: tuple[int, int], tile_wh: tuple[int, int], tile: bytes) -> bytes:
    """Return a grey TIFF of one tile, compressed by deflate."""
    (width, height), (tile_width, tile_height), data = size_wh, tile_wh, zlib.compress(tile)
    values = [(256, width), (257, height), (258, 8), (259, 8), (262, 1), (277, 1)]
    values += [(322, tile_width), (323, tile_height), (324, 8 + 2 + 12 * 10 + 4), (325, len(data))]
    entries = b"".join(struct.pack("<HHII", number, 4, 1, value) for number, value in values)
    return b"II*\0" + struct.pack("<IH", 8, len(values)) + entries + b"\0\0\0\0" + data


def vast_webp() -> bytes:
    """Return the header of an animation of 16383 x 16383 px, without a frame."""
    extended = struct.pack("<I", 10) + b"\x02\0\0\0" + b"\xfe\x3f\0" * 2
    content = b"WEBPVP8X" + extended + b"ANIM" + struct.pack("<I", 6) + b"\0" * 6
    return b"RIFF" + struct.pack("<I", len(content)) + content


def broken_avif() -> bytes:
    """Return an AVIF with zeros instead of its compressed pixels."""
    data = saved(_NOISE, "AVIF")
    start = data.index(b"mdat") + 4
    return data[:start] + bytes(len(data) - start)
