"""Small image files of every accepted format and mode, and files that are made to harm."""

import io
import re
import struct
import zlib

import numpy as np
from PIL import Image, features

SIZE_WH = (17, 13)
_NOISE = Image.fromarray(np.random.default_rng(1).integers(0, 256, (*SIZE_WH[::-1], 3), np.uint8))


def saved(image, kind, **options):
    file = io.BytesIO()
    image.copy().save(file, kind, **options)
    return file.getvalue()


def exif(orientation=6):
    tags = Image.Exif()
    tags[0x0112], tags[0x010F], tags[0x8769] = orientation, "maker", {0x9003: "2026:11:20 08:00:00"}
    return tags


def samples():
    """Files by what they are: each is accepted as it is."""
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
    for how in ("tiff_lzw", "tiff_deflate", "packbits", "jpeg", "lzma", "zstd"):
        files[f"TIFF {how}"] = saved(_NOISE, "TIFF", compression=how)
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


def _two_frames():
    """New ones each time: a save leaves traces in an image that other formats stumble over."""
    return {"save_all": True, "append_images": [_NOISE.rotate(90)]}


def jpeg_of_scans(count, size_wh=(64, 64), *, progressive=True):
    """A JPEG, one of its scans again and again."""
    data = saved(Image.new("RGB", size_wh), "JPEG", progressive=progressive)
    starts = [found.start() for found in re.finditer(rb"\xff\xda", data)]
    if not progressive:
        return data[: starts[0]] + data[starts[0] : -2] * count + data[-2:]
    return data[: starts[1]] + data[starts[1] : starts[2]] * (count - len(starts) + 1) + data[starts[2] :]


def jpeg_with(*segments):
    """A JPEG with these (marker, bytes) before everything else."""
    data = saved(_NOISE, "JPEG")
    return (
        data[:2]
        + b"".join(struct.pack(">BBH", 0xFF, mark, len(each) + 2) + each for mark, each in segments)
        + data[2:]
    )


def png_with(kind, content, times=1):
    """A PNG with a chunk after its header."""
    data = saved(_NOISE, "PNG")
    chunk = struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    return data[:33] + chunk * times + data[33:]


def greedy_exif(entries=5000, each=200_000):
    """EXIF whose every tag claims the same `each` bytes."""
    tags = b"".join(struct.pack("<HHII", 0x8000 + index, 1, each, 8) for index in range(entries))
    return (b"II*\0" + struct.pack("<IH", 8, entries) + tags + b"\0\0\0\0").ljust(each + 8, b"\0")


def endless_exif():
    """EXIF whose EXIF is itself, and so is what follows."""
    tags = struct.pack("<HHII", 0x8769, 4, 1, 8) + struct.pack("<HHII", 0x8825, 4, 1, 8)
    return b"II*\0" + struct.pack("<IH", 8, 2) + tags + struct.pack("<I", 8)


def tiff_of_tiles(size_wh, tile_wh, tile):
    """A grey TIFF of one tile, compressed by deflate."""
    (width, height), (tile_width, tile_height), data = size_wh, tile_wh, zlib.compress(tile)
    tags = [(256, width), (257, height), (258, 8), (259, 8), (262, 1), (277, 1)]
    tags += [(322, tile_width), (323, tile_height), (324, 8 + 2 + 12 * 10 + 4), (325, len(data))]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + b"\0\0\0\0" + data


def vast_webp():
    """The header of an animation of 16383 x 16383 px, and no frame."""
    extended = struct.pack("<I", 10) + b"\x02\0\0\0" + b"\xfe\x3f\0" * 2
    content = b"WEBPVP8X" + extended + b"ANIM" + struct.pack("<I", 6) + b"\0" * 6
    return b"RIFF" + struct.pack("<I", len(content)) + content


def broken_avif():
    """An AVIF whose pixels are zeros where their code should be."""
    data = saved(_NOISE, "AVIF")
    start = data.index(b"mdat") + 4
    return data[:start] + bytes(len(data) - start)
