"""Reading images: every mode and orientation to upright RGB; what is no image has its own error."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image, features

from shared.errors import ImageTooLarge, InvalidImage, UnsupportedImage
from shared.vision.images import codec
from shared.vision.images.letterbox import downscale_factor
from shared.vision.images.resample import block_mean

RED, GREEN = (220, 30, 20), (20, 200, 40)


def picture(mode="RGB", size_wh=(24, 16)):
    """Red, with a green block in the upper left quarter."""
    image = Image.new("RGB", size_wh, RED)
    image.paste(GREEN, (0, 0, size_wh[0] // 2, size_wh[1] // 2))
    return image.convert(mode)


def saved(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def decode(data, max_pixels=10**6):
    return codec.decode(data, max_pixels=max_pixels)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF"])
def test_every_accepted_format_is_read(kind):
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
def test_every_mode_becomes_rgb(mode):
    if mode == "I;16":
        source = Image.fromarray(np.full((16, 24), 0xC8FF, np.uint16))
        expected = (0xC8, 0xC8, 0xC8)
    else:
        source = picture(mode)
        expected = tuple(np.asarray(source.convert("RGB"))[3, 3])
    kind = "PNG" if mode in {"RGB", "RGBA", "P", "L", "LA", "1", "I;16"} else "TIFF"
    np.testing.assert_allclose(decode(saved(source, kind))[3, 3], expected, atol=1)


def test_alpha_is_dropped_not_composited():
    image = picture("RGBA")
    image.putalpha(0)
    assert tuple(decode(saved(image, "PNG"))[3, 3]) == GREEN


def test_a_transparent_palette_keeps_its_colours():
    image = picture("P")
    data = saved(image, "PNG", transparency=0)
    np.testing.assert_array_equal(decode(data), np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))[..., :3])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_every_orientation_ends_upright(orientation, kind):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(picture(size_wh=(32, 16)), kind, exif=exif, **({} if kind == "PNG" else {"quality": 95}))
    from PIL import ImageOps  # noqa: PLC0415 - the reference, and only here

    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    np.testing.assert_array_equal(decode(data), upright)


@given(
    size_hw=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    least_hw=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    orientation=st.integers(1, 8),
)
def test_a_jpeg_comes_no_smaller_than_it_is_needed(size_hw, least_hw, orientation):
    assume(max(size_hw) > 16)  # of less, a half and a quarter may be of one size
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored_hw = size_hw[::-1] if orientation >= 5 else size_hw
    data = saved(Image.new("RGB", stored_hw[::-1], GREEN), "JPEG", exif=exif)
    asked = []
    pixels, original_hw = codec.read(data, max_pixels=10**6, least_hw=lambda hw: asked.append(hw) or least_hw)
    assert asked == [original_hw] == [size_hw]
    times = downscale_factor(original_hw, pixels)
    assert pixels.shape == (-(-size_hw[0] // times), -(-size_hw[1] // times), 3)
    if times > 1:
        assert size_hw[0] >= times * least_hw[0]
        assert size_hw[1] >= times * least_hw[1]
    elif orientation == 1:
        assert size_hw[0] < 2 * least_hw[0] or size_hw[1] < 2 * least_hw[1]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size_wh", [(96, 64), (89, 61)])
@pytest.mark.parametrize("times", [2, 4, 8])
def test_a_smaller_jpeg_is_the_average_of_its_pixels(orientation, size_wh, times):
    """A slope in each colour: a shift by a pixel of the image would be one level or more."""
    x, y = np.meshgrid(np.linspace(10, 245, size_wh[0]), np.linspace(10, 245, size_wh[1]))
    slopes = np.stack((x, y, (x + y) / 2), axis=2).round().astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(Image.fromarray(slopes), "JPEG", quality=98, subsampling=0, exif=exif)
    least_hw = tuple(side // times for side in decode(data).shape[:2])
    smaller, original_hw = codec.read(data, max_pixels=10**6, least_hw=lambda _: least_hw)
    even = all(side % times == 0 for side in size_wh)
    assert (downscale_factor(original_hw, smaller) == times) or not even
    expected = block_mean(decode(data), (downscale_factor(original_hw, smaller),) * 2)
    assert smaller.shape == expected.shape
    inner = [slice(side // downscale_factor(original_hw, smaller)) for side in original_hw]
    np.testing.assert_allclose(smaller[inner[0], inner[1]], expected[inner[0], inner[1]].astype(int), atol=3)


def test_other_files_come_as_they_are():
    pixels, original_hw = codec.read(saved(picture(), "PNG"), max_pixels=10**6, least_hw=lambda _: (1, 1))
    assert pixels.shape == (*original_hw, 3) == (16, 24, 3)


def test_a_damaged_jpeg_is_damaged_at_every_scale():
    data = saved(picture(size_wh=(200, 200)), "JPEG", quality=95)[:-600]
    with pytest.raises(InvalidImage):
        codec.read(data, max_pixels=10**6, least_hw=lambda _: (1, 1))


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_pixels_are_pillows(subsampling, progressive):
    noise = Image.fromarray(np.random.default_rng(3).integers(0, 256, (61, 83, 3), np.uint8))
    data = saved(noise, "JPEG", subsampling=subsampling, progressive=progressive, quality=90)
    np.testing.assert_array_equal(decode(data), np.asarray(Image.open(io.BytesIO(data))))


def test_only_the_first_frame_counts():
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
def test_what_is_no_image_is_refused(data, error):
    with pytest.raises(error):
        decode(data)


def test_too_many_pixels_are_refused_from_the_header():
    with pytest.raises(ImageTooLarge, match="24 x 16"):
        decode(saved(picture(), "PNG"), max_pixels=24 * 16 - 1)
    assert decode(saved(picture(), "PNG"), max_pixels=24 * 16).shape == (16, 24, 3)


def test_a_decompression_bomb_is_refused_before_it_is_decoded():
    header_only = saved(Image.new("1", (30_000, 30_000)), "PNG")
    assert len(header_only) < 200_000
    with pytest.raises(ImageTooLarge):
        decode(header_only, max_pixels=64_000_000)


def test_a_written_jpeg_reads_back():
    gradient = np.tile(np.linspace(0, 255, 64, dtype=np.uint8)[:, None, None], (1, 48, 3))
    np.testing.assert_allclose(decode(codec.encode_jpeg(gradient)), gradient, atol=6)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK", "I;16"])
def test_every_orientation_of_a_tiff_ends_upright(orientation, mode):
    source = picture(size_wh=(32, 16))
    if mode == "I;16":
        grey = np.asarray(source.convert("L"), np.uint16)
        data = saved(Image.fromarray(grey << 8), "TIFF", tiffinfo={0x0112: orientation})
        plain = np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)
    else:
        data = saved(source.convert(mode), "TIFF", tiffinfo={0x0112: orientation})
        plain = np.asarray(source.convert(mode).convert("RGB"))
    from PIL import ImageOps  # noqa: PLC0415 - the reference, and only here

    tagged = Image.fromarray(plain)
    tagged.getexif()[0x0112] = orientation
    np.testing.assert_array_equal(decode(data), np.asarray(ImageOps.exif_transpose(tagged)))


def test_sixteen_bits_a_channel_are_read_by_their_high_byte():
    rows = b"".join(b"\0" + bytes.fromhex("dcff1e00140a") * 4 for _ in range(3))  # (0xdcff, 0x1e00, 0x140a)
    header = struct.pack(">IIBBBBB", 4, 3, 16, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(each)) + kind + each + struct.pack(">I", zlib.crc32(kind + each))
        for kind, each in chunks
    )
    np.testing.assert_array_equal(decode(data), np.full((3, 4, 3), (0xDC, 0x1E, 0x14)))


def test_cmyk_as_photoshop_writes_it_is_not_inverted():
    plain = picture().convert("CMYK")
    data = saved(plain, "JPEG", quality=95)
    assert b"Adobe" in data, "Pillow writes it inverted, and says so"
    np.testing.assert_allclose(decode(data)[3, 3], GREEN, atol=30)


@pytest.mark.parametrize("mode", ["YCbCr", "LAB", "I", "I;16B"])
def test_rare_modes_of_a_tiff_have_their_pixels(mode):
    if mode == "I;16B":
        source = Image.frombytes("I;16B", (24, 16), b"\xc8\xff" * 24 * 16)
        expected = (0xC8, 0xC8, 0xC8)
    else:
        source = Image.frombytes("LAB", (24, 16), bytes((128, 0, 0)) * 24 * 16) if mode == "LAB" else picture(mode)
        expected = tuple(np.asarray(source.convert("RGB"))[3, 3])
    np.testing.assert_allclose(decode(saved(source, "TIFF"))[3, 3], expected, atol=1)


def test_of_several_pictures_in_a_jpeg_the_first_is_read():
    first, second = picture(), picture().rotate(180)
    data = saved(first, "MPO", save_all=True, append_images=[second], quality=95)
    assert Image.open(io.BytesIO(data)).format == "MPO"
    np.testing.assert_allclose(decode(data)[3, 3], GREEN, atol=30)


def test_fill_between_the_segments_of_a_jpeg_is_passed_over():
    data = saved(picture(), "JPEG", quality=95)
    odd = data[:2] + b"\xff\xff\xff" + data[2:20] + b"\xff" * 7 + data[20:]
    np.testing.assert_array_equal(decode(odd), decode(data))
