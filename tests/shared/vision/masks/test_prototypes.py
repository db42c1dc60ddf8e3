"""Prototype masks: inside their boxes equal to a decode of the whole frame, at both resolutions."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import ImageTooLarge
from shared.vision.arrays import BoolArray, Float32Array, Float64Array, IndexArray, SizeHW
from shared.vision.images.letterbox import Letterbox, letterbox
from shared.vision.masks.masks import MAX_MASK_PIXELS, Mask
from shared.vision.masks.prototypes import canvas_masks, image_masks

NO_BOXES = np.empty((0, 4), np.float32)


def decode_by_definition(
    weights: Float32Array,
    prototypes: Float32Array,
    box: Float32Array,
    centres_x: Float64Array,
    centres_y: Float64Array,
) -> tuple[BoolArray, BoolArray]:
    """Upsample the logits at every pixel of the frame, in double precision, and crop to the box.

    Returns:
        The mask of the whole frame, and where its logit is too near to zero to be certain in single precision.
    """
    logits = np.tensordot(weights.astype(float), prototypes.astype(float), 1)

    def interpolation(centres: Float64Array, length: int) -> tuple[IndexArray, IndexArray, Float64Array]:
        centres = np.clip(centres, 0, length - 1)
        first = np.floor(centres).astype(np.intp)
        return first, np.minimum(first + 1, length - 1), centres - first

    x0, x1, right = interpolation(centres_x, logits.shape[1])
    y0, y1, lower = interpolation(centres_y, logits.shape[0])
    rows = logits[:, x0] * (1 - right) + logits[:, x1] * right
    surface = rows[y0] * (1 - lower)[:, None] + rows[y1] * lower[:, None]
    x, y = np.arange(len(centres_x)), np.arange(len(centres_y))[:, None]
    inside = (x >= box[0]) & (x < box[2]) & (y >= box[1]) & (y < box[3])
    return (surface > 0) & inside, np.abs(surface) < 1e-4


def whole(mask: Mask, shape_hw: SizeHW) -> BoolArray:
    """Return the mask as an array of its whole frame."""
    out = np.zeros(shape_hw, bool)
    height, width = mask.pixels.shape
    out[mask.top : mask.top + height, mask.left : mask.left + width] = mask.pixels
    return out


def random_objects(
    seed: int, count: int = 6, depth: int = 4, mask_hw: SizeHW = (16, 24), canvas_hw: SizeHW = (64, 96)
) -> tuple[Float32Array, Float32Array, Float32Array]:
    """Return random coefficients (count, depth), prototypes (depth, *mask_hw) and boxes (count, 4)."""
    rng = np.random.default_rng(seed)
    corners = rng.uniform(-8, 1.1 * max(canvas_hw), (count, 2, 2)).astype(np.float32)
    boxes = np.sort(corners, axis=1).reshape(count, 4)
    weights = rng.normal(size=(count, depth)).astype(np.float32)
    return weights, rng.normal(size=(depth, *mask_hw)).astype(np.float32), boxes


def test_no_objects_have_no_masks() -> None:
    prototypes = np.zeros((32, 16, 16), np.float32)
    coefficients = np.empty((0, 32), np.float32)
    assert canvas_masks(coefficients, prototypes, NO_BOXES, (64, 64)) == []
    assert image_masks(coefficients, prototypes, NO_BOXES, letterbox((10, 20), (64, 64))) == []


@pytest.mark.parametrize(
    ("box", "left", "top", "shape"),
    [
        pytest.param([0, 0, 16, 8], 0, 0, (8, 16), id="whole canvas"),
        pytest.param([0.1, 0, 14.1, 8], 1, 0, (8, 14), id="x >= 0.1 and x < 14.1: pixels 1 to 14"),
        pytest.param([3, 2, 3.5, 2.5], 3, 2, (1, 1), id="one pixel"),
        pytest.param([3.2, 2.2, 3.9, 2.9], 4, 3, (0, 0), id="between two pixel indices"),
        pytest.param([-5, -5, 99, 99], 0, 0, (8, 16), id="larger than the canvas"),
        pytest.param([20, 2, 30, 4], 16, 2, (2, 0), id="beyond the canvas"),
        pytest.param([5, 5, 2, 2], 5, 5, (0, 0), id="reversed"),
        pytest.param([np.nan] * 4, 0, 0, (0, 0), id="not a number"),
    ],
)
def test_canvas_mask_has_pixels_with_indices_in_box(box: list[float], left: int, top: int, shape: SizeHW) -> None:
    prototypes = np.ones((1, 2, 4), np.float32)
    (mask,) = canvas_masks(np.ones((1, 1), np.float32), prototypes, np.array([box], np.float32), (8, 16))
    assert (mask.left, mask.top, mask.pixels.shape) == (left, top, shape)
    assert mask.pixels.all()
    assert mask.area == shape[0] * shape[1]


def test_objects_without_positive_logits_have_empty_masks() -> None:
    prototypes = np.ones((1, 4, 4), np.float32)
    weights, boxes = np.array([[1], [-1], [0]], np.float32), np.array([[0, 0, 8, 8]] * 3, np.float32)
    assert [mask.area for mask in canvas_masks(weights, prototypes, boxes, (16, 16))] == [64, 0, 0]


def test_logit_of_zero_is_outside() -> None:
    # The first has no row of pixels on the zero, the second has.
    prototypes = np.array([[[1], [-1], [1]]], np.float32)
    (mask,) = canvas_masks(np.ones((1, 1), np.float32), prototypes, np.array([[0, 0, 1, 6]], np.float32), (6, 1))
    assert mask.pixels.ravel().tolist() == [True, True, False, False, True, True]
    frame = Letterbox((9, 1), (3, 1), (3, 1), top=0, left=0)
    prototypes = np.array([[[2], [-1], [2]]], np.float32)
    (mask,) = image_masks(np.ones((1, 1), np.float32), prototypes, np.array([[0, 0, 1, 3]], np.float32), frame)
    assert mask.pixels.ravel().tolist() == [True, True, True, False, False, False, True, True, True]


@given(st.integers(0, 10_000), st.sampled_from([(64, 96), (32, 48), (16, 24), (100, 90), (8, 7)]))
def test_canvas_masks_equal_definition(seed: int, canvas_hw: SizeHW) -> None:
    weights, prototypes, boxes = random_objects(seed, canvas_hw=canvas_hw)
    centres_y = (np.arange(canvas_hw[0]) + 0.5) * 16 / canvas_hw[0] - 0.5
    centres_x = (np.arange(canvas_hw[1]) + 0.5) * 24 / canvas_hw[1] - 0.5
    masks = canvas_masks(weights, prototypes, boxes, canvas_hw)
    for mask, weight, box in zip(masks, weights, boxes, strict=True):
        expected, uncertain = decode_by_definition(weight, prototypes, box, centres_x, centres_y)
        assert ((whole(mask, canvas_hw) == expected) | uncertain).all()


@given(st.integers(0, 10_000), st.sampled_from([(30, 50), (300, 450), (200, 40), (7, 9), (1, 60), (64, 96)]))
def test_image_masks_equal_definition_at_image_pixels(seed: int, image_hw: SizeHW) -> None:
    canvas_hw = (64, 96)
    frame = letterbox(image_hw, canvas_hw)
    weights, prototypes, boxes = random_objects(seed)
    centres_y = (frame.top + (np.arange(image_hw[0]) + 0.5) * frame.resized_hw[0] / image_hw[0]) / 4 - 0.5
    centres_x = (frame.left + (np.arange(image_hw[1]) + 0.5) * frame.resized_hw[1] / image_hw[1]) / 4 - 0.5
    masks = image_masks(weights, prototypes, boxes, frame)
    enlarged = [max(frame.resized_hw[axis] / image_hw[axis], 1) for axis in (1, 0, 1, 0)]
    ends = frame.to_image_coords(boxes) - np.array([0.5 - 0.5 / each for each in enlarged], np.float32)
    for mask, weight, box in zip(masks, weights, ends, strict=True):
        expected, uncertain = decode_by_definition(weight, prototypes, box, centres_x, centres_y)
        is_one_pixel = max(enlarged) > 1 and mask.area == 1 and not expected[~uncertain].any()
        assert is_one_pixel or ((whole(mask, image_hw) == expected) | uncertain).all()


@given(st.integers(0, 10_000), st.sampled_from([(7, 9), (1, 60), (3, 2), (1, 1), (30, 20)]))
def test_object_on_canvas_of_enlarged_image_is_in_image_too(seed: int, image_hw: SizeHW) -> None:
    """An object may be smaller than a pixel of a small image, and lie between the middles of two."""
    frame = letterbox(image_hw, (64, 96))
    weights, prototypes, boxes = random_objects(seed)
    rectangle = (frame.left, frame.top, frame.left + frame.resized_hw[1], frame.top + frame.resized_hw[0])
    small = canvas_masks(weights, prototypes, boxes, (64, 96))
    for mask, large in zip(small, image_masks(weights, prototypes, boxes, frame), strict=True):
        assert large.area > 0 or mask.cropped(*rectangle).area == 0
        if large.area:
            assert whole(large, image_hw).any(), "inside the image"


@pytest.mark.parametrize(
    ("box", "pixel"),
    [
        pytest.param([8, 8, 16, 16], (1, 1), id="exactly one image pixel"),
        pytest.param([9, 9, 11, 11], (1, 1), id="left of the pixel's centre"),
        pytest.param([13, 9, 15, 11], (1, 1), id="right of the pixel's centre"),
        pytest.param([14.2, 3, 16, 5], (1, 0), id="near the pixel's right edge"),
        pytest.param([0, 0, 1, 1], (0, 0), id="first canvas pixel"),
        pytest.param([63, 63, 64, 64], (7, 7), id="last canvas pixel"),
    ],
)
def test_object_smaller_than_image_pixel_becomes_one_pixel(box: list[float], pixel: tuple[int, int]) -> None:
    frame = letterbox((8, 8), (64, 64))
    prototypes = np.ones((1, 16, 16), np.float32)
    (mask,) = image_masks(np.ones((1, 1)), prototypes, np.array([box], np.float32), frame)
    assert (mask.left, mask.top, mask.area) == (*pixel, 1)


def test_box_in_enlarged_image_is_not_moved_by_half_a_pixel() -> None:
    """By its index, a pixel that is in the box from its second tenth on would be outside."""
    frame = letterbox((8, 8), (64, 64))
    box = np.array([[8 + 2, 8, 40 + 2, 24]], np.float32)  # 1.25 to 5.25
    (mask,) = image_masks(np.ones((1, 1)), np.ones((1, 16, 16), np.float32), box, frame)
    assert (mask.left, mask.top, mask.pixels.shape) == (1, 1, (2, 4))


def test_large_image_decoded_in_bands_has_no_seam() -> None:
    # 500 rows of pixels to a prototype row: more than a byte counts, and several bands.
    image_hw, frame = (4000, 500), Letterbox((4000, 500), (32, 4), (32, 4), top=0, left=0)
    weights, prototypes, _ = random_objects(5, count=1, mask_hw=(8, 1), canvas_hw=(32, 4))
    (mask,) = image_masks(weights, prototypes, np.array([[0, 0, 4, 32]], np.float32), frame)
    centres_y = (np.arange(4000) + 0.5) / 500 - 0.5
    expected, uncertain = decode_by_definition(
        weights[0], prototypes, np.array((0, 0, 500, 4000), np.float32), np.zeros(500), centres_y
    )
    assert mask.pixels.shape == image_hw
    assert ((mask.pixels == expected) | uncertain).all()


def test_canvas_and_image_masks_have_same_centre_and_area() -> None:
    """A disc, its centre and area: padding that is no whole number of prototype cells shifts nothing."""
    y, x = np.mgrid[:16, :24] + 0.5
    prototypes = (6 - np.hypot(x - 12.3, y - 7.9))[None].astype(np.float32)
    frame = letterbox((310, 480), (64, 96))  # 62 rows in the canvas, one above
    assert frame.top % 4
    box = np.array([[0, 0, 96, 64]], np.float32)
    (small,) = canvas_masks(np.ones((1, 1)), prototypes, box, (64, 96))
    (large,) = image_masks(np.ones((1, 1)), prototypes, box, frame)
    centre_small = (np.argwhere(small.pixels).mean(axis=0) + 0.5 - (frame.top, frame.left)) * 5
    centre_large = np.argwhere(large.pixels).mean(axis=0) + 0.5
    np.testing.assert_allclose(centre_small, centre_large, atol=0.5)  # a tenth of a canvas pixel
    assert small.area * 25 == pytest.approx(large.area, rel=0.01)


def test_half_precision_gives_same_masks_as_single() -> None:
    weights, prototypes, boxes = random_objects(11)
    half = canvas_masks(weights.astype(np.float16), prototypes.astype(np.float16), boxes, (64, 96))
    single = canvas_masks(
        weights.astype(np.float16).astype(np.float32),
        prototypes.astype(np.float16).astype(np.float32),
        boxes,
        (64, 96),
    )
    for a, b in zip(half, single, strict=True):
        np.testing.assert_array_equal(a.pixels, b.pixels)


def test_nan_and_infinite_logits_do_not_warn() -> None:
    prototypes = np.array([[[1, np.nan], [np.inf, -np.inf], [1, 1]]], np.float32)
    (mask,) = canvas_masks(np.ones((1, 1)), prototypes, np.array([[0, 0, 8, 12]], np.float32), (12, 8))
    assert mask.pixels[-1].all()


def test_image_masks_over_pixel_limit_raise_before_allocation() -> None:
    """300 objects, each as large as an image of 48 megapixels: 14 GB of masks."""
    prototypes = np.ones((1, 160, 160), np.float32)
    boxes = np.tile(np.array([[0, 0, 640, 640]], np.float32), (300, 1))
    with pytest.raises(ImageTooLarge, match=f"14400000000 px together, more than the limit of {MAX_MASK_PIXELS}"):
        image_masks(np.ones((300, 1), np.float32), prototypes, boxes, letterbox((6000, 8000), (640, 640)))
    assert len(canvas_masks(np.ones((300, 1), np.float32), prototypes, boxes, (640, 640))) == 300


@pytest.mark.parametrize(
    ("image_hw", "mask_hw", "boxes"),
    [
        pytest.param((100, 64_000), (8192, 1), 1, id="one box"),
        pytest.param((100, 8000), (8192, 1), 10, id="all boxes"),
    ],
)
def test_prototypes_much_finer_than_the_image_raise_before_allocation(
    image_hw: SizeHW, mask_hw: SizeHW, boxes: int
) -> None:
    fit = Letterbox(image_hw, (64, 64), (64, 64), 0, 0)
    whole_canvas = np.array([[0, 0, 64, 64]] * boxes, np.float32)
    coefficients, prototypes = np.ones((boxes, 1), np.float32), np.ones((1, *mask_hw), np.float32)

    tracemalloc.start()
    try:
        with pytest.raises(ImageTooLarge, match="use a model with smaller prototypes"):
            image_masks(coefficients, prototypes, whole_canvas, fit)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 10_000_000


def test_as_many_cells_as_allowed_are_decoded_and_one_more_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = (np.ones((2, 1), np.float32), np.ones((1, 8, 8), np.float32))
    boxes = np.array(
        [[0, 0, 4, 2], [0, 0, 2, 2]], np.float32
    )  # two rows of pixels lie in the first and the third cell

    for name, limit in (("MAX_BOX_CELLS", 12), ("MAX_MASK_PIXELS", 18)):
        monkeypatch.setattr(f"shared.vision.masks.prototypes.{name}", limit)
        assert len(canvas_masks(*arguments, boxes, (4, 4))) == 2
        monkeypatch.setattr(f"shared.vision.masks.prototypes.{name}", limit - 1)
        with pytest.raises(ImageTooLarge, match=f"limit {limit - 1}"):
            canvas_masks(*arguments, boxes, (4, 4))
        monkeypatch.undo()
