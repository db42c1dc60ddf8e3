"""Hostile, truncated and randomly changed files become pixels or one of our errors, soon and in little memory."""

import json
import os
import random
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, features

from shared.errors import ImageTooLarge, InvalidImage, UnsupportedImage
from shared.vision.arrays import Pixels
from shared.vision.images import codec
from shared.vision.images.codec import has_more_scans
from testing import image_files
from testing.image_files import SIZE_WH, saved

ImageError = type[ImageTooLarge] | type[InvalidImage] | type[UnsupportedImage]
# Files by name -> for each its pixels and the peak of memory, in bytes, that decoding it took.
MeasurePeaks = Callable[[dict[str, bytes]], dict[str, tuple[int, int]]]

SAMPLES = image_files.samples()
MAX_PIXELS = 1_000_000


def decode(data: bytes) -> Pixels | ImageError:
    """Return the pixels, or the class of our error."""
    try:
        pixels = codec.decode(data, max_pixels=MAX_PIXELS)
    except (ImageTooLarge, InvalidImage, UnsupportedImage) as error:
        return type(error)
    assert pixels.dtype == np.uint8
    assert (pixels.ndim, pixels.shape[2]) == (3, 3)
    assert 0 < pixels.shape[0] * pixels.shape[1] <= MAX_PIXELS
    return pixels


def decoded_size_wh(data: bytes) -> tuple[int, int]:
    """Return the (width, height) of a file that is expected to decode."""
    pixels = decode(data)
    assert isinstance(pixels, np.ndarray), pixels
    return pixels.shape[1], pixels.shape[0]


@pytest.mark.parametrize("name", SAMPLES)
def test_truncated_sample_is_pixels_or_error_at_every_length(name: str) -> None:
    data = SAMPLES[name]
    sizes = (SIZE_WH, SIZE_WH[::-1])

    assert decoded_size_wh(data) in sizes
    for end in range(0, len(data), max(1, len(data) // 60)):
        decoded = decode(data[:end])
        if end == 0:
            assert decoded is InvalidImage
        elif isinstance(decoded, np.ndarray):
            assert decoded.shape[1::-1] in sizes
    assert decode(data[: len(data) // 2]) is InvalidImage or "two frames" in name


EDITS = st.lists(
    st.tuples(
        st.integers(0, 2000),
        st.sampled_from(
            [b"\0", b"\xff", b"\x7f", b"\x80", b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", b"\0\0\0\1"]
        )
        | st.binary(min_size=1, max_size=8),
        st.booleans(),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=400)
@given(st.sampled_from(sorted(SAMPLES)), EDITS, st.integers(0, 3000))
def test_randomly_edited_file_is_pixels_or_one_of_our_errors(
    name: str, edits: list[tuple[int, bytes, bool]], end: int
) -> None:
    data = bytearray(SAMPLES[name][: end + 1000])
    for offset, content, overwrites in edits:
        start = offset % len(data)
        data[start : start + (len(content) if overwrites else 0)] = content

    decode(bytes(data))


@pytest.mark.slow
def test_thousands_of_edited_files_of_every_format_are_pixels_or_our_errors() -> None:
    """Edit the headers more often than a uniform choice would."""
    rng = random.Random(7)  # noqa: S311 - the same files every time
    for name, sample in SAMPLES.items():
        for _ in range(60):
            data = bytearray(sample)
            for _ in range(rng.choice([1, 1, 2, 5])):
                start = rng.randrange(min(len(data), rng.choice([64, 200, len(data)])))
                data[start : start + rng.choice([0, 1, 4])] = rng.randbytes(rng.choice([1, 1, 4]))
            try:
                decode(bytes(data))
            except Exception as error:
                raise AssertionError(f"{name}: {bytes(data).hex()}") from error


NOT_IMAGES = {
    "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n",
    "EPS with a DOS header": b"\xc5\xd0\xd3\xc6" + b"\0" * 40,
    "PDF": b"%PDF-1.7\n",
    "SVG": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>',
    "HTML": b"<!doctype html><title>x</title>",
    "ZIP": b"PK\3\4" + b"\0" * 30,
    "gzip": b"\x1f\x8b\x08" + b"\0" * 20,
    "ELF": b"\x7fELF" + b"\0" * 60,
    "ICO": saved(Image.new("RGB", (16, 16)), "ICO"),
    "PPM": saved(Image.new("RGB", (16, 16)), "PPM"),
    "TGA": saved(Image.new("RGB", (16, 16)), "TGA"),
    "PSD": b"8BPS\0\1" + b"\0" * 40,
    "JPEG 2000": b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0" * 40,
    "zeros": bytes(1000),
}


@pytest.mark.parametrize("name", NOT_IMAGES)
def test_other_format_is_unsupported_even_if_pillow_reads_it(name: str) -> None:
    assert decode(NOT_IMAGES[name]) is UnsupportedImage


DEFLATED_MEGABYTE, DEFLATED_256_MB = (b"x\0\0" + zlib.compress(bytes(size)) for size in (10**6, 2**28))
REJECTED: dict[str, tuple[Callable[[], bytes], ImageError]] = {
    "AVIF without its pixels": (image_files.broken_avif, InvalidImage),
    "half the header of an AVIF": (lambda: SAMPLES["AVIF"][:30], InvalidImage),
    "header of a BigTIFF": (lambda: SAMPLES["BigTIFF"][:12], InvalidImage),
    "TIFF tile of 900 megapixels": (
        lambda: image_files.tiff_of_one_tile((16, 16), (30_000, 30_000), b"\0" * 256),
        InvalidImage,
    ),
    "JPEG of 101 scans": (lambda: image_files.jpeg_of_scans(101), InvalidImage),
    "WebP canvas of 268 megapixels": (image_files.vast_webp, ImageTooLarge),
    "PNG colour profile that expands to 256 MB": (
        lambda: image_files.png_with(b"iCCP", DEFLATED_256_MB),
        InvalidImage,
    ),
    "PNG text that expands to 256 MB": (
        lambda: image_files.png_with(b"zTXt", DEFLATED_256_MB),
        InvalidImage,
    ),
    "PNG with 100 texts of 1 MB": (
        lambda: image_files.png_with(b"zTXt", DEFLATED_MEGABYTE, 100),
        InvalidImage,
    ),
}


@pytest.mark.parametrize("name", REJECTED)
def test_file_made_to_exhaust_memory_or_time_is_rejected(name: str) -> None:
    if "AVIF" in name and not features.check("avif"):
        return
    make, error = REJECTED[name]

    assert decode(make()) is error


GREEDY = image_files.greedy_exif()
ACCEPTED: dict[str, Callable[[], bytes]] = {
    "JPEG with EXIF entries that claim 1 GB": lambda: image_files.jpeg_with(
        *((0xE1, b"Exif\0\0" + GREEDY[start : start + 65_000]) for start in range(0, len(GREEDY), 65_000))
    ),
    "PNG with EXIF entries that claim 1 GB": lambda: image_files.png_with(b"eXIf", GREEDY),
    "WebP with EXIF entries that claim 1 GB": lambda: saved(
        Image.new("RGB", SIZE_WH), "WEBP", exif=b"Exif\0\0" + GREEDY
    ),
    "JPEG with recursive EXIF": lambda: image_files.jpeg_with((0xE1, b"Exif\0\0" + image_files.recursive_exif())),
    "PNG with recursive EXIF": lambda: image_files.png_with(b"eXIf", image_files.recursive_exif()),
    "JPEG with invalid EXIF": lambda: image_files.jpeg_with((0xE1, b"Exif\0\0II*\0\xff\xff\xff\xff")),
    "JPEG with comments and unknown segments": lambda: image_files.jpeg_with(
        (0xFE, b"\xff\xda" * 500), (0xEF, b"x" * 60_000)
    ),
    "JPEG with scans behind its end": lambda: SAMPLES["JPEG progressive"] + b"\0\x02" + b"\xff\xda\0\x02" * 500,
    "JPEG of 100 scans": lambda: image_files.jpeg_of_scans(100, SIZE_WH),
    "TIFF tile larger than its image": lambda: image_files.tiff_of_one_tile(SIZE_WH, (512, 512), bytes(512 * 512)),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_file_with_odd_metadata_or_structure_is_decoded(name: str) -> None:
    assert decoded_size_wh(ACCEPTED[name]()) == SIZE_WH


@pytest.mark.parametrize("count", [10, 50, 100, 101, 500])
def test_has_more_scans_counts_scans_of_progressive_jpeg(count: int) -> None:
    data = image_files.jpeg_of_scans(count)

    assert has_more_scans(data, count - 1)
    assert not has_more_scans(data, count)


def test_has_more_scans_ignores_scans_that_no_decoder_reads() -> None:
    assert not has_more_scans(image_files.jpeg_of_scans(500, progressive=False), 1)


@pytest.mark.parametrize(("data", "limit"), [(b"", 0), (b"\xff\xd8\xff\xda", 1)], ids=["empty", "start of a scan"])
def test_has_more_scans_is_false_for_fragments(data: bytes, limit: int) -> None:
    assert not has_more_scans(data, limit)


# Memory and time

PEAK = """
import json, sys, time
from pathlib import Path
from shared.errors import TenantVisionError
from shared.vision.images import codec

def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024

results = {}
for path in sorted(Path(sys.argv[1]).iterdir()):
    data = path.read_bytes()
    Path("/proc/self/clear_refs").write_text("5")
    before = peak()
    try:
        size = codec.decode(data, max_pixels=64_000_000).size / 3
    except TenantVisionError:
        size = 0
    results[path.name] = size, peak() - before
print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def measure_peaks(root: Path, tmp_path_factory: pytest.TempPathFactory) -> MeasurePeaks:
    if not os.access("/proc/self/clear_refs", os.W_OK):
        pytest.skip("needs Linux")

    def measure(files: dict[str, bytes]) -> dict[str, tuple[int, int]]:
        folder = tmp_path_factory.mktemp("images")
        # Sorted, "0" comes first: it loads Pillow's plug-ins before anything is measured.
        (folder / "0").write_bytes(saved(Image.new("RGB", (8, 8)), "PNG", exif=image_files.exif()))
        for name, data in files.items():
            (folder / name).write_bytes(data)
        process = subprocess.run(
            [sys.executable, "-c", PEAK, folder], cwd=root, capture_output=True, text=True, check=True, timeout=100
        )
        return {name: result for name, result in json.loads(process.stdout).items() if name != "0"}

    return measure


@pytest.mark.slow
def test_decoding_takes_at_most_25_bytes_per_pixel(measure_peaks: MeasurePeaks) -> None:
    noise = Image.effect_noise((150, 100), 60).convert("RGB").resize((1200, 800))
    rotated = image_files.exif()
    files = {
        "JPEG": saved(noise, "JPEG", exif=rotated),
        "JPEG progressive": saved(noise, "JPEG", progressive=True, subsampling=0, exif=rotated),
        "JPEG CMYK": saved(noise.convert("CMYK"), "JPEG", progressive=True, subsampling=0, exif=rotated),
        "PNG": saved(noise, "PNG", compress_level=1, exif=rotated),
        "PNG LA": saved(noise.convert("LA"), "PNG", compress_level=1, exif=rotated),
        "WebP": saved(noise, "WEBP", method=0, exif=rotated),
        "WebP lossless": saved(noise.convert("RGBA"), "WEBP", method=0, lossless=True, exif=rotated),
        "TIFF": saved(noise, "TIFF", tiffinfo={0x0112: 6}),
        "TIFF F": saved(noise.convert("F"), "TIFF", compression="tiff_lzw", tiffinfo={0x0112: 6}),
        "BMP": saved(noise.convert("RGBA"), "BMP"),
        "GIF": saved(noise.convert("P"), "GIF"),
    }
    if features.check("avif"):
        files["AVIF"] = saved(noise, "AVIF", speed=10, exif=rotated)

    for name, (pixels, peak_bytes) in measure_peaks(files).items():
        assert pixels == 960_000, name
        assert peak_bytes / pixels <= 25, name


@pytest.mark.slow
def test_hostile_file_takes_at_most_50_megabytes(measure_peaks: MeasurePeaks) -> None:
    files = {name: make() for name, (make, _) in REJECTED.items()} | {
        name: make() for name, make in ACCEPTED.items()
    }

    for name, (_, peak_bytes) in measure_peaks(files).items():
        assert peak_bytes < 50 * 2**20, name
