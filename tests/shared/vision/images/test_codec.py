"""Decoding: every format, mode and orientation becomes upright RGB; other files raise their own errors."""

import io
import struct
import warnings
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image, ImageOps, features

from shared.errors import ImageTooLarge, InvalidImage, UnsupportedImage
from shared.vision.arrays import Pixels, SizeHW
from shared.vision.images import codec
from shared.vision.images.letterbox import downscale_factor
from shared.vision.images.resample import block_mean

RED, GREEN = (220, 30, 20), (20, 200, 40)


def picture(mode: str = "RGB", size_wh: tuple[int, int] = (24, 16)) -> Image.Image:
    """Return a red image with a green upper left quarter."""
    image = Image.new("RGB", size_wh, RED)
    image.paste(GREEN, (0, 0, size_wh[0] // 2, size_wh[1] // 2))
    return image.convert(mode)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def exif(orientation: int) -> Image.Exif:
    metadata = Image.Exif()
    metadata[0x0112] = orientation
    return metadata


def decode(data: bytes, max_pixels: int = 10**6) -> Pixels:
    return codec.decode(data, max_pixels=max_pixels)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF"])
def test_every_accepted_format_is_decoded(kind: str) -> None:
    if kind == "AVIF" and not features.check("avif"):
        assert kind not in codec.FORMATS
        return
    options = {"quality": 95} if kind in {"JPEG", "WEBP", "AVIF"} else {}

    pixels = decode(saved(picture(), kind, **options))

    assert pixels.shape == (16, 24, 3)
    assert pixels.dtype == np.uint8
    np.testing.assert_allclose(pixels[3, 3], GREEN, atol=30)
    np.testing.assert_allclose(pixels[13, 20], RED, atol=30)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L", "LA", "1", "CMYK", "F", "I;16"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    expected: tuple[int, ...]
    if mode == "I;16":
        source = Image.fromarray(np.full((16, 24), 0xC8FF, np.uint16))
        expected = (0xC8, 0xC8, 0xC8)
    else:
        source = picture(mode)
        expected = tuple(np.asarray(source.convert("RGB"))[3, 3])
    kind = "PNG" if mode in {"RGB", "RGBA", "P", "L", "LA", "1", "I;16"} else "TIFF"
    np.testing.assert_allclose(decode(saved(source, kind))[3, 3], expected, atol=1)


def test_alpha_is_dropped_not_composited() -> None:
    image = picture("RGBA")
    image.putalpha(0)
    assert tuple(decode(saved(image, "PNG"))[3, 3]) == GREEN


def test_transparent_palette_keeps_its_colours() -> None:
    image = picture("P")
    data = saved(image, "PNG", transparency=0)
    np.testing.assert_array_equal(decode(data), np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))[..., :3])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_every_exif_orientation_is_undone(orientation: int, kind: str) -> None:
    options: dict[str, Any] = {} if kind == "PNG" else {"quality": 95}
    data = saved(picture(size_wh=(32, 16)), kind, exif=exif(orientation), **options)

    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    np.testing.assert_array_equal(decode(data), upright)


@given(
    size_hw=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    min_size_hw=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    orientation=st.integers(1, 8),
)
def test_jpeg_is_decoded_no_smaller_than_the_minimum(
    size_hw: SizeHW, min_size_hw: SizeHW, orientation: int
) -> None:
    assume(max(size_hw) > 16)  # of smaller images, a half and a quarter can have the same size
    stored_hw = size_hw[::-1] if orientation >= 5 else size_hw
    data = saved(Image.new("RGB", stored_hw[::-1], GREEN), "JPEG", exif=exif(orientation))
    queried: list[SizeHW] = []

    def query(image_hw: SizeHW) -> SizeHW:
        queried.append(image_hw)
        return min_size_hw

    pixels, original_hw = codec.decode_downscaled(data, max_pixels=10**6, min_size_hw=query)

    assert queried == [original_hw] == [size_hw]
    factor = downscale_factor(original_hw, pixels)
    assert pixels.shape == (-(-size_hw[0] // factor), -(-size_hw[1] // factor), 3)
    if factor > 1:
        assert size_hw[0] >= factor * min_size_hw[0]
        assert size_hw[1] >= factor * min_size_hw[1]
    elif orientation == 1:
        assert size_hw[0] < 2 * min_size_hw[0] or size_hw[1] < 2 * min_size_hw[1]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size_wh", [(96, 64), (89, 61)])
@pytest.mark.parametrize("factor", [2, 4, 8])
def test_downscaled_jpeg_is_the_block_mean_of_its_pixels(
    orientation: int, size_wh: tuple[int, int], factor: int
) -> None:
    """A gradient in each colour shows a shift: one px of the image is one level or more."""
    x, y = np.meshgrid(np.linspace(10, 245, size_wh[0]), np.linspace(10, 245, size_wh[1]))
    gradients = np.stack((x, y, (x + y) / 2), axis=2).round().astype(np.uint8)
    data = saved(Image.fromarray(gradients), "JPEG", quality=98, subsampling=0, exif=exif(orientation))
    whole = decode(data)
    min_size_hw = whole.shape[0] // factor, whole.shape[1] // factor

    smaller, original_hw = codec.decode_downscaled(data, max_pixels=10**6, min_size_hw=lambda _: min_size_hw)

    decoded_factor = downscale_factor(original_hw, smaller)
    divisible = all(side % factor == 0 for side in size_wh)
    assert decoded_factor == factor or not divisible
    expected = block_mean(whole, (decoded_factor, decoded_factor))
    assert smaller.shape == expected.shape
    height, width = (side // decoded_factor for side in original_hw)
    np.testing.assert_allclose(smaller[:height, :width], expected[:height, :width].astype(int), atol=3)


def test_png_is_decoded_at_full_resolution_despite_a_small_minimum() -> None:
    data = saved(picture(), "PNG")

    pixels, original_hw = codec.decode_downscaled(data, max_pixels=10**6, min_size_hw=lambda _: (1, 1))

    assert pixels.shape == (*original_hw, 3) == (16, 24, 3)


def test_truncated_jpeg_is_invalid_when_downscaled() -> None:
    data = saved(picture(size_wh=(200, 200)), "JPEG", quality=95)[:-600]

    with pytest.raises(InvalidImage):
        codec.decode_downscaled(data, max_pixels=10**6, min_size_hw=lambda _: (1, 1))


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_pixels_equal_those_of_pillow(subsampling: int, progressive: bool) -> None:  # noqa: FBT001
    noise = Image.fromarray(np.random.default_rng(3).integers(0, 256, (61, 83, 3), np.uint8))
    data = saved(noise, "JPEG", subsampling=subsampling, progressive=progressive, quality=90)

    np.testing.assert_array_equal(decode(data), np.asarray(Image.open(io.BytesIO(data))))


def test_first_frame_of_an_animation_is_decoded() -> None:
    frames = [Image.new("RGB", (8, 8), RED), Image.new("RGB", (8, 8), GREEN)]
    data = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])

    np.testing.assert_allclose(decode(data)[0, 0], RED, atol=8)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", InvalidImage),
        (b"hello, this is text", UnsupportedImage),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", UnsupportedImage),
        (saved(picture(), "PPM"), UnsupportedImage),
        (b"\xff\xd8\xff\xe0", InvalidImage),
        (saved(picture(), "JPEG")[:200], InvalidImage),
        (saved(picture(), "PNG")[:60], InvalidImage),
        (saved(picture(size_wh=(200, 200)), "JPEG", quality=95)[:-600], InvalidImage),
    ],
    ids=["empty", "text", "EPS", "PPM", "JPEG of 4 bytes", "JPEG cut early", "PNG cut", "JPEG cut late"],
)
def test_file_that_is_no_valid_image_raises(data: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        decode(data)


def test_image_with_one_pixel_too_many_is_too_large() -> None:
    with pytest.raises(ImageTooLarge, match="24 x 16"):
        decode(saved(picture(), "PNG"), max_pixels=24 * 16 - 1)
    assert decode(saved(picture(), "PNG"), max_pixels=24 * 16).shape == (16, 24, 3)


def test_decompression_bomb_is_rejected_from_its_header() -> None:
    header_only = saved(Image.new("1", (30_000, 30_000)), "PNG")
    assert len(header_only) < 200_000

    with pytest.raises(ImageTooLarge):
        decode(header_only, max_pixels=64_000_000)


def test_encoded_jpeg_decodes_to_the_same_picture() -> None:
    gradient = np.tile(np.linspace(0, 255, 64, dtype=np.uint8)[:, None, None], (1, 48, 3))

    np.testing.assert_allclose(decode(codec.encode_jpeg(gradient)), gradient, atol=6)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK", "I;16"])
def test_every_orientation_of_a_tiff_is_undone(orientation: int, mode: str) -> None:
    source = picture(size_wh=(32, 16))
    if mode == "I;16":
        grey = np.asarray(source.convert("L"), np.uint16)
        data = saved(Image.fromarray(grey << 8), "TIFF", tiffinfo={0x0112: orientation})
        plain = np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)
    else:
        data = saved(source.convert(mode), "TIFF", tiffinfo={0x0112: orientation})
        plain = np.asarray(source.convert(mode).convert("RGB"))
    oriented = Image.fromarray(plain)
    oriented.getexif()[0x0112] = orientation

    np.testing.assert_array_equal(decode(data), np.asarray(ImageOps.exif_transpose(oriented)))


def test_png_of_16_bits_a_channel_keeps_the_high_bytes() -> None:
    rows = b"".join(b"\0" + bytes.fromhex("dcff1e00140a") * 4 for _ in range(3))  # (0xdcff, 0x1e00, 0x140a)
    header = struct.pack(">IIBBBBB", 4, 3, 16, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )

    np.testing.assert_array_equal(decode(data), np.full((3, 4, 3), (0xDC, 0x1E, 0x14)))


def test_inverted_cmyk_of_an_adobe_jpeg_is_undone() -> None:
    plain = picture().convert("CMYK")
    data = saved(plain, "JPEG", quality=95)
    assert b"Adobe" in data, "Pillow writes inverted CMYK, with Adobe's marker"

    np.testing.assert_allclose(decode(data)[3, 3], GREEN, atol=30)


@pytest.mark.parametrize("mode", ["YCbCr", "LAB", "I", "I;16B"])
def test_rare_tiff_modes_become_rgb(mode: str) -> None:
    expected: tuple[int, ...]
    if mode == "I;16B":
        source = Image.frombytes("I;16B", (24, 16), b"\xc8\xff" * 24 * 16)
        expected = (0xC8, 0xC8, 0xC8)
    else:
        source = Image.frombytes("LAB", (24, 16), bytes((128, 0, 0)) * 24 * 16) if mode == "LAB" else picture(mode)
        expected = tuple(np.asarray(source.convert("RGB"))[3, 3])
    np.testing.assert_allclose(decode(saved(source, "TIFF"))[3, 3], expected, atol=1)


def test_first_picture_of_an_mpo_is_decoded() -> None:
    first, second = picture(), picture().rotate(180)
    data = saved(first, "MPO", save_all=True, append_images=[second], quality=95)
    assert Image.open(io.BytesIO(data)).format == "MPO"

    np.testing.assert_allclose(decode(data)[3, 3], GREEN, atol=30)


def test_fill_bytes_between_jpeg_segments_are_skipped() -> None:
    data = saved(picture(), "JPEG", quality=95)
    filled = data[:2] + b"\xff\xff\xff" + data[2:20] + b"\xff" * 7 + data[20:]

    np.testing.assert_array_equal(decode(filled), decode(data))


def test_ignore_pillow_warnings_silences_damaged_metadata() -> None:
    data = saved(picture(), "TIFF", tiffinfo={0x010F: "maker"})
    damaged = data.replace(struct.pack("<HHI", 0x010F, 2, 6), struct.pack("<HHI", 0x010F, 2, 2**30))
    assert damaged != data

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning):
            decode(damaged)
        codec.ignore_pillow_warnings()
        assert decode(damaged).shape == (16, 24, 3)
