"""Images made to harm, cut off and broken at random: pixels or one of our errors, soon, and in little memory."""

import json
import os
import random
import subprocess
import sys
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, features

from shared.errors import ImageTooLarge, InvalidImage, UnsupportedImage
from shared.vision.images import codec
from shared.vision.images.jpeg_scans import has_more_scans
from testing import image_files
from testing.image_files import saved

SAMPLES = image_files.samples()
OURS = (ImageTooLarge, InvalidImage, UnsupportedImage)
MAX_PIXELS = 1_000_000
AVIF = pytest.mark.skipif(not features.check("avif"), reason="Pillow has no AVIF here")


def decode(data):
    """The pixels, or one of our errors."""
    try:
        pixels = codec.decode(data, max_pixels=MAX_PIXELS)
    except OURS as error:
        return type(error)
    assert (pixels.dtype, pixels.ndim, pixels.shape[2]) == (np.uint8, 3, 3)
    assert 0 < pixels.shape[0] * pixels.shape[1] <= MAX_PIXELS
    return pixels


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_is_accepted_whole_and_cut_anywhere_it_is_an_error_or_pixels(name):
    data = SAMPLES[name]
    size = (image_files.SIZE_WH, image_files.SIZE_WH[::-1])
    assert decode(data).shape[1::-1] in size
    for end in range(0, len(data), max(1, len(data) // 60)):
        found = decode(data[:end])
        if end == 0:
            assert found is InvalidImage
        elif not isinstance(found, type):
            assert found.shape[1::-1] in size
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
def test_a_file_changed_at_random_is_pixels_or_one_of_our_errors(name, edits, end):
    data = bytearray(SAMPLES[name][: end + 1000])
    for place, content, instead in edits:
        at = place % len(data)
        data[at : at + (len(content) if instead else 0)] = content
    decode(bytes(data))


@pytest.mark.slow
def test_thousands_of_changed_files_of_every_format_are_pixels_or_one_of_our_errors():
    """Headers are hit more often than by chance."""
    rng = random.Random(7)  # noqa: S311 - the same files every time
    for name, sample in SAMPLES.items():
        for _ in range(60):
            data = bytearray(sample)
            for _ in range(rng.choice([1, 1, 2, 5])):
                at = rng.randrange(min(len(data), rng.choice([64, 200, len(data)])))
                data[at : at + rng.choice([0, 1, 4])] = rng.randbytes(rng.choice([1, 1, 4]))
            try:
                decode(bytes(data))
            except Exception as error:
                raise AssertionError(f"{name}: {bytes(data).hex()}") from error


NOT_IMAGES = {
    "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n",
    "EPS in DOS clothes": b"\xc5\xd0\xd3\xc6" + b"\0" * 40,
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


@pytest.mark.parametrize("what", NOT_IMAGES)
def test_another_format_is_415_whatever_pillow_could_read(what):
    assert decode(NOT_IMAGES[what]) is UnsupportedImage


MEGABYTE, QUARTER_GIGABYTE = (b"x\0\0" + zlib.compress(bytes(size)) for size in (10**6, 2**28))
HURT = {
    "an AVIF without its pixels": (image_files.broken_avif, InvalidImage),
    "half an AVIF's header": (lambda: SAMPLES["AVIF"][:30], InvalidImage),
    "a BigTIFF's header": (lambda: SAMPLES["BigTIFF"][:12], InvalidImage),
    "a tile of 900 megapixels": (
        lambda: image_files.tiff_of_tiles((16, 16), (30_000, 30_000), b"\0" * 256),
        InvalidImage,
    ),
    "a scan too many": (lambda: image_files.jpeg_of_scans(101), InvalidImage),
    "a canvas of WebP": (image_files.vast_webp, ImageTooLarge),
    "a profile that expands to 256 MB": (
        lambda: image_files.png_with(b"iCCP", QUARTER_GIGABYTE),
        InvalidImage,
    ),
    "a text that does": (
        lambda: image_files.png_with(b"zTXt", QUARTER_GIGABYTE),
        InvalidImage,
    ),
    "many texts": (
        lambda: image_files.png_with(b"zTXt", MEGABYTE, 100),
        InvalidImage,
    ),
}


@pytest.mark.parametrize("what", HURT)
def test_what_once_hurt_or_was_made_to(what):
    if "AVIF" in what and not features.check("avif"):
        return
    make, error = HURT[what]
    assert decode(make()) is error


GREEDY = image_files.greedy_exif()
FORGIVEN = {
    "tags of a JPEG that claim a gigabyte": lambda: image_files.jpeg_with(
        *((0xE1, b"Exif\0\0" + GREEDY[at : at + 65_000]) for at in range(0, len(GREEDY), 65_000))
    ),
    "tags of a PNG that do": lambda: image_files.png_with(b"eXIf", GREEDY),
    "tags of a WebP that do": lambda: saved(
        Image.new("RGB", image_files.SIZE_WH), "WEBP", exif=b"Exif\0\0" + GREEDY
    ),
    "EXIF within itself": lambda: image_files.jpeg_with((0xE1, b"Exif\0\0" + image_files.endless_exif())),
    "EXIF within itself in a PNG": lambda: image_files.png_with(b"eXIf", image_files.endless_exif()),
    "EXIF of nonsense": lambda: image_files.jpeg_with((0xE1, b"Exif\0\0II*\0\xff\xff\xff\xff")),
    "comments and unknown segments": lambda: image_files.jpeg_with(
        (0xFE, b"\xff\xda" * 500), (0xEF, b"x" * 60_000)
    ),
    "a tail of anything": lambda: SAMPLES["JPEG progressive"] + b"\0\x02" + b"\xff\xda\0\x02" * 500,
    "the most scans": lambda: image_files.jpeg_of_scans(100, image_files.SIZE_WH),
    "a tile that is twice the image": lambda: image_files.tiff_of_tiles(
        image_files.SIZE_WH, (512, 512), bytes(512 * 512)
    ),
}


@pytest.mark.parametrize("what", FORGIVEN)
def test_what_is_only_odd_has_its_pixels(what):
    assert decode(FORGIVEN[what]()).shape[1::-1] == image_files.SIZE_WH


def test_scans_are_counted_where_they_are():
    for count in (10, 50, 100, 101, 500):
        data = image_files.jpeg_of_scans(count)
        assert has_more_scans(data, count - 1)
        assert not has_more_scans(data, count)
    assert not has_more_scans(image_files.jpeg_of_scans(500, progressive=False), 1), "no decoder reads the second"
    assert not has_more_scans(b"", 0)
    assert not has_more_scans(b"\xff\xd8\xff\xda", 1)


# Memory and time

PEAK = """
import json, sys, time
from pathlib import Path
from shared.errors import TenantVisionError
from shared.vision.images import codec

def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024

told = {}
for path in sorted(Path(sys.argv[1]).iterdir()):
    data = path.read_bytes()
    Path("/proc/self/clear_refs").write_text("5")
    before = peak()
    try:
        size = codec.decode(data, max_pixels=64_000_000).size / 3
    except TenantVisionError:
        size = 0
    told[path.name] = size, peak() - before
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def peaks(root, tmp_path_factory):
    """Gives a function: files by name -> of each its pixels and the bytes that decoding took at most."""
    if not os.access("/proc/self/clear_refs", os.W_OK):
        pytest.skip("needs Linux")

    def measure(files):
        folder = tmp_path_factory.mktemp("images")
        first = saved(Image.new("RGB", (8, 8)), "PNG", exif=image_files.exif())  # loads Pillow's plug-ins
        (folder / "0").write_bytes(first)  # sorted, it comes first
        for name, data in files.items():
            (folder / name).write_bytes(data)
        done = subprocess.run(
            [sys.executable, "-c", PEAK, folder], cwd=root, capture_output=True, text=True, check=True, timeout=100
        )
        return {name: found for name, found in json.loads(done.stdout).items() if name != "0"}

    return measure


@pytest.mark.slow
def test_an_accepted_image_takes_no_more_than_25_bytes_a_pixel(peaks):
    noise = Image.effect_noise((150, 100), 60).convert("RGB").resize((1200, 800))
    turned = image_files.exif()
    files = {
        "JPEG": saved(noise, "JPEG", exif=turned),
        "JPEG progressive": saved(noise, "JPEG", progressive=True, subsampling=0, exif=turned),
        "JPEG CMYK": saved(noise.convert("CMYK"), "JPEG", progressive=True, subsampling=0, exif=turned),
        "PNG": saved(noise, "PNG", compress_level=1, exif=turned),
        "PNG LA": saved(noise.convert("LA"), "PNG", compress_level=1, exif=turned),
        "WebP": saved(noise, "WEBP", method=0, exif=turned),
        "WebP lossless": saved(noise.convert("RGBA"), "WEBP", method=0, lossless=True, exif=turned),
        "TIFF": saved(noise, "TIFF", tiffinfo={0x0112: 6}),
        "TIFF F": saved(noise.convert("F"), "TIFF", compression="tiff_lzw", tiffinfo={0x0112: 6}),
        "BMP": saved(noise.convert("RGBA"), "BMP"),
        "GIF": saved(noise.convert("P"), "GIF"),
    }
    if features.check("avif"):
        files["AVIF"] = saved(noise, "AVIF", speed=10, exif=turned)
    for name, (pixels, taken) in peaks(files).items():
        assert pixels == 960_000, name
        assert taken / pixels <= 25, name


@pytest.mark.slow
def test_a_hostile_file_takes_no_more_than_50_megabytes(peaks):
    files = {name: make() for name, (make, _) in HURT.items()} | {name: make() for name, make in FORGIVEN.items()}
    for name, (_, taken) in peaks(files).items():
        assert taken < 50 * 2**20, name
