"""Tests the segmenter on ONNX Runtime: the planted shapes come back at either resolution."""

from typing import Any

import numpy as np
import pytest

from shared.errors import InvalidModel, InvalidPipeline, ModelNotFound
from shared.processors.segmentation_processor import SegmentationProcessor, SegmentOptions
from shared.vision.arrays import BoolArray, Pixels, SizeHW
from shared.vision.masks.masks import Mask
from shared.vision.masks.segments import Segments
from testing import models
from testing.memory_store import PutModel
from testing.scenes import BLUE, scene, white


def segment(put_model: PutModel, data: bytes, image: Pixels, **options: Any) -> Segments:
    put_model(data, "segment")
    processor = SegmentationProcessor(
        tenant_id="tenant-001", options=SegmentOptions(**options) if options else None
    )
    return processor.process(image)


def shape(canvas_hw: SizeHW, x1: int, y1: int, x2: int, y2: int) -> BoolArray:
    """Return a rectangle whose lower right quarter is missing."""
    pixels = np.zeros(canvas_hw, bool)
    pixels[y1:y2, x1:x2] = True
    pixels[(y1 + y2) // 2 : y2, (x1 + x2) // 2 : x2] = False
    return pixels


def whole(mask: Mask, shape_hw: SizeHW) -> BoolArray:
    out = np.zeros(shape_hw, bool)
    height, width = mask.pixels.shape
    out[mask.top : mask.top + height, mask.left : mask.left + width] = mask.pixels
    return out


SHAPES = ((0, 0.9, shape((64, 96), 8, 16, 40, 48)), (1, 0.8, shape((64, 96), 52, 20, 84, 36)))


@pytest.mark.parametrize("kind", ["raw", "v5", "end_to_end", "nms"])
@pytest.mark.parametrize(
    "variant", [{}, {"half": True}, {"batch": 4}, {"cell": 4}, {"half": True, "batch": 2}], ids=str
)
@pytest.mark.parametrize("resolution", ["canvas", "image"])
@pytest.mark.parametrize("image_hw", [(64, 96), (128, 192), (96, 192), (32, 48)])
def test_planted_shapes_are_segmented(
    kind: models.LayoutName, variant: dict[str, Any], resolution: str, image_hw: SizeHW, put_model: PutModel
) -> None:
    segments = segment(
        put_model, models.segment(SHAPES, kind=kind, **variant), white(image_hw), resolution=resolution
    )
    assert (segments.canvas is None) == (resolution == "image")
    assert segments.detections.class_ids.tolist() == [0, 1]
    assert segments.detections.confidences.tolist() == pytest.approx([0.9, 0.8], abs=1e-3)
    ratio = min(64 / image_hw[0], 96 / image_hw[1])
    top = (64 - image_hw[0] * ratio) / 2
    for (_, _, pixels), mask, area, box in zip(
        SHAPES, segments.in_image(image_hw), segments.areas, segments.detections.boxes_xyxy, strict=True
    ):
        (y1, x1), (y2, x2) = np.argwhere(pixels).min(axis=0), np.argwhere(pixels).max(axis=0) + 1
        expected = np.array((x1, y1 - top, x2, y2 - top)) / ratio
        np.testing.assert_allclose(box, expected, atol=0.3 if variant.get("half") else 0.01)
        rows = ((np.arange(image_hw[0]) + 0.5) * ratio + top).astype(int)
        columns = ((np.arange(image_hw[1]) + 0.5) * ratio).astype(int)
        planted = pixels[np.ix_(rows, columns)]
        actual = whole(mask, image_hw)
        iou = (planted & actual).sum() / (planted | actual).sum()
        assert iou > (0.99 if image_hw == (64, 96) and not variant else 0.9)
        assert area == pytest.approx(planted.sum(), rel=0.06)


def test_image_without_objects_has_no_segments(put_model: PutModel) -> None:
    for resolution in ("canvas", "image"):
        segments = segment(put_model, models.segment(), white((30, 50)), resolution=resolution)
        assert len(segments) == len(segments.detections) == len(segments.masks) == 0
        assert segments.polygons() == []


@pytest.mark.parametrize("resolution", ["canvas", "image"])
def test_object_with_empty_mask_is_dropped(resolution: str, put_model: PutModel) -> None:
    """The second one's coefficients make a surface that is below zero everywhere."""
    data = models.segment([(0, 0.9, shape((64, 96), 8, 16, 40, 48)), (1, 0.8, shape((64, 96), 50, 16, 90, 48))])
    image = white((64, 96))
    segments = segment(put_model, data, image, resolution=resolution)
    assert len(segments) == 2
    empty = models.segment([*SHAPES[:1], (1, 0.8, SHAPES[1][2])], emptied=(1,))
    segments = segment(put_model, empty, image, resolution=resolution)
    assert segments.detections.class_ids.tolist() == [0]
    assert len(segments.masks) == 1


@pytest.mark.parametrize("resolution", ["canvas", "image"])
def test_object_in_the_padding_is_dropped(resolution: str, put_model: PutModel) -> None:
    pixels = np.zeros((64, 64), bool)
    pixels[2:10, 10:30] = True  # of an image of 32 x 64: padding to row 16
    segments = segment(put_model, models.segment([(0, 0.9, pixels)]), white((32, 64)), resolution=resolution)
    assert len(segments) == 0


@pytest.mark.parametrize("resolution", ["canvas", "image"])
@pytest.mark.parametrize("image_hw", [(1, 1), (3, 2), (31, 33), (1, 60)])
def test_small_image_has_equal_objects_at_both_resolutions(
    resolution: str, image_hw: SizeHW, put_model: PutModel
) -> None:
    """An object of less than a pixel of the image is one of the image too."""
    rng = np.random.default_rng(4)
    masks = []
    for index in range(6):
        pixels = np.zeros((64, 64), bool)
        x, y = rng.integers(8, 50, 2)
        pixels[y : y + 4, x : x + 4] = True
        masks.append((index % 2, 0.9 - index / 100, pixels))
    image = white(image_hw)
    segments = segment(put_model, models.segment(masks), image, resolution=resolution, iou_threshold=1.0)
    canvas = segment(put_model, models.segment(masks), image, resolution="canvas", iou_threshold=1.0)
    assert segments.detections.boxes_xyxy.tolist() == canvas.detections.boxes_xyxy.tolist()


@pytest.mark.parametrize(
    ("options", "class_ids"),
    [
        ({"labels": ("path",)}, [1]),
        ({"confidence_threshold": 0.85}, [0]),
        ({"confidence_thresholds": {"bed": 0.95}}, [1]),
        ({"max_detections": 1}, [0]),
        ({"labels": ()}, []),
    ],
)
@pytest.mark.parametrize("resolution", ["canvas", "image"])
def test_box_options_select_segments(
    options: dict[str, Any], class_ids: list[int], resolution: str, put_model: PutModel
) -> None:
    segments = segment(put_model, models.segment(SHAPES), white((64, 96)), resolution=resolution, **options)
    assert segments.detections.class_ids.tolist() == class_ids
    assert len(segments.masks) == len(class_ids)


def test_unknown_label_and_missing_model_raise(put_model: PutModel) -> None:
    with pytest.raises(ModelNotFound, match="'segment'"):
        SegmentationProcessor(tenant_id="tenant-001")
    put_model(models.segment(SHAPES), "segment")
    with pytest.raises(InvalidPipeline, match="'weed'; the model's labels: bed, path"):
        SegmentationProcessor(tenant_id="tenant-001", options=SegmentOptions(labels=("weed",)))


def test_built_in_nms_is_warned_of(put_model: PutModel) -> None:
    put_model(models.segment(SHAPES, kind="nms"), "segment")
    [warning] = SegmentationProcessor(tenant_id="tenant-001", options=SegmentOptions(iou_threshold=0.5)).warnings
    assert "segment.onnx" in warning


def test_sorting_keeps_masks_with_their_boxes(put_model: PutModel) -> None:
    """The model gives the least confident candidate first."""
    segments = segment(put_model, models.segment(SHAPES[::-1], kind="end_to_end"), white((64, 96)))
    assert segments.detections.class_ids.tolist() == [0, 1]
    for (_, _, pixels), mask in zip(SHAPES, segments.masks, strict=True):
        np.testing.assert_array_equal(whole(mask, (64, 96)), pixels)


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("resolution", ["canvas", "image"])
@pytest.mark.parametrize("image_hw", [(64, 64), (32, 64), (64, 40)])
def test_blobs_are_segmented_to_the_pixel(
    *, dynamic: bool, resolution: str, image_hw: SizeHW, put_model: PutModel
) -> None:
    image = scene(image_hw, [(10, 10, 30, 28), (33, 5, 39, 25, BLUE)])
    segments = segment(put_model, models.blob_detector("segment", dynamic=dynamic), image, resolution=resolution)
    seen = sum(whole(mask, image_hw).astype(int) for mask in segments.in_image(image_hw))
    np.testing.assert_array_equal(seen, image.max(axis=2) > 0)


@pytest.mark.parametrize("shape", [(1, 3, 0, 0), (1, 3, 0, 4), (1, 2, 4, 4)])
def test_prototypes_of_unexpected_shape_are_an_invalid_model(shape: tuple[int, ...], put_model: PutModel) -> None:
    with pytest.raises(InvalidModel, match="prototypes"):
        segment(put_model, models.segment(SHAPES[:1], prototypes_shape=shape), white((64, 96)))


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_masks_that_are_not_finite_are_an_invalid_model(*, half: bool, value: float, put_model: PutModel) -> None:
    data = models.segment(SHAPES, prototypes_value=value, half=half)
    with pytest.raises(InvalidModel, match="prototypes are not finite"):
        segment(put_model, data, white((64, 96)))
    assert len(segment(put_model, data, white((64, 96)), labels=())) == 0
