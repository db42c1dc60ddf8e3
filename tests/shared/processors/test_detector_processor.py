"""Tests the detector on ONNX Runtime: each layout gives the planted boxes in image px."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from shared.errors import InvalidModel, InvalidPipeline, ModelNotFound
from shared.processors.box_processor import BoxOptions
from shared.processors.detector_processor import DetectorProcessor
from shared.vision.arrays import Pixels, SizeHW
from shared.vision.boxes.detections import Detections
from testing import models
from testing.memory_store import PutModel
from testing.scenes import RED, scene, white

THREE = ("plant", "tray", "pot")
# x1, y1, x2, y2, class, score: in px of an image of 90 x 120 (height, width)
PLANTED = ((10, 20, 50, 60, 0, 0.9), (70, 6, 118, 86, 2, 0.75), (3, 70, 23, 88, 1, 0.5))
IMAGE_HW = (90, 120)


def on_canvas(
    planted: Sequence[Any], image_hw: SizeHW, canvas_hw: SizeHW, *, dynamic: bool = False, stretched: bool = False
) -> tuple[tuple[Any, ...], ...]:
    """Return where an image's boxes are in a canvas, as `models` takes them; independent of `Letterbox`."""
    (height, width), (bottom, right) = image_hw, canvas_hw
    ratio = min(bottom / height, right / width)
    inner_hw = round(height * ratio), round(width * ratio)
    top, left = ((outer - inner) / 2 for outer, inner in zip(canvas_hw, inner_hw, strict=True))
    if dynamic:
        top, left = ((outer - inner) % 32 / 2 for outer, inner in zip(canvas_hw, inner_hw, strict=True))
    top, left = round(top - 0.1), round(left - 0.1)
    if stretched:
        inner_hw, top, left = canvas_hw, 0, 0
    scale = np.array((inner_hw[1] / width, inner_hw[0] / height) * 2)
    boxes = []
    for *box, class_id, score in planted:
        x1, y1, x2, y2 = np.array(box) * scale + (left, top, left, top)
        boxes.append(((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, class_id, score))
    return tuple(boxes)


def detect(put_model: PutModel, data: bytes, image: Pixels, **options: Any) -> Detections:
    put_model(data)
    processor = DetectorProcessor(tenant_id="tenant-001", options=BoxOptions(**options) if options else None)
    return processor.process(image)


def rows(detections: Detections) -> list[list[float]]:
    """Return x1, y1, x2, y2, class and confidence of each detection."""
    result: list[list[float]] = np.column_stack(
        (detections.boxes_xyxy, detections.class_ids, detections.confidences)
    ).tolist()
    return result


@pytest.mark.parametrize("kind", models.LAYOUTS)
@pytest.mark.parametrize(
    "variant",
    [
        {},
        {"canvas_hw": (96, 160)},
        {"canvas_hw": (160, 96)},
        {"dynamic": True},
        {"dynamic": True, "canvas_hw": (128, 160)},
        {"batch": 4},
        {"half": True},
        {"half": True, "dynamic": True},
        {"half": True, "batch": 4, "canvas_hw": (96, 160)},
    ],
    ids=str,
)
def test_each_layout_gives_the_planted_boxes(
    kind: models.LayoutName, variant: dict[str, Any], put_model: PutModel
) -> None:
    canvas_hw = variant.get("canvas_hw", models.CANVAS_HW)
    dynamic, stretched = variant.get("dynamic", False), kind.startswith("rtdetr")
    boxes = on_canvas(PLANTED, IMAGE_HW, canvas_hw, dynamic=dynamic, stretched=stretched)
    metadata = {"imgsz": str(list(canvas_hw))}  # else the dynamic v5 model would get a canvas of 640 px
    data = models.detect_in_layout(kind, boxes, labels=THREE, metadata=metadata, **variant)
    detections = detect(put_model, data, white(IMAGE_HW))
    tolerance = 0.3 if variant.get("half") else 0.01
    np.testing.assert_allclose(rows(detections), PLANTED, atol=tolerance)
    assert (detections.boxes_xyxy.dtype, detections.confidences.dtype) == (
        np.dtype(np.float32),
        np.dtype(np.float32),
    )


@pytest.mark.parametrize("kind", ["raw", "v5"])
@pytest.mark.parametrize("variant", [{}, {"canvas_hw": (96, 160)}, {"batch": 4}, {"half": True}], ids=str)
def test_layout_without_metadata_is_recognized_by_shapes(
    kind: models.LayoutName, variant: dict[str, Any], put_model: PutModel
) -> None:
    canvas_hw = variant.get("canvas_hw", models.CANVAS_HW)
    boxes = on_canvas(PLANTED, IMAGE_HW, canvas_hw)
    data = models.detect_in_layout(kind, boxes, labels=THREE, without_metadata=True, **variant)
    detections = detect(put_model, data, white(IMAGE_HW))
    np.testing.assert_allclose(rows(detections), PLANTED, atol=0.3 if variant.get("half") else 0.01)


@pytest.mark.parametrize("kind", models.LAYOUTS)
def test_image_without_objects_gives_empty_arrays(kind: models.LayoutName, put_model: PutModel) -> None:
    detections = detect(put_model, models.detect_in_layout(kind, (), labels=THREE), white(IMAGE_HW))
    assert (detections.boxes_xyxy.shape, detections.confidences.shape, detections.class_ids.shape) == (
        (0, 4),
        (0,),
        (0,),
    )


@pytest.mark.parametrize("kind", models.LAYOUTS)
@pytest.mark.parametrize("image_hw", [(1, 1), (1, 300), (300, 1), (31, 33), (1000, 40)])
def test_boxes_are_clipped_to_images_of_any_shape(
    kind: models.LayoutName, image_hw: SizeHW, put_model: PutModel
) -> None:
    boxes = ((32, 32, 500, 500, 0, 0.9),)
    assert len(detect(put_model, models.detect_in_layout(kind, boxes, labels=THREE), scene((64, 64)))) == 0, (
        "black"
    )
    [row] = rows(detect(put_model, models.detect_in_layout(kind, boxes, labels=THREE), white(image_hw)))
    assert row[:4] == [0, 0, image_hw[1], image_hw[0]]


def test_missing_detector_raises(put_model: PutModel) -> None:
    put_model(models.classify(), "classify")
    with pytest.raises(ModelNotFound):
        DetectorProcessor(tenant_id="tenant-001")


# Options

OVERLAPPING_BOXES = (
    (10, 10, 30, 30, 0, 0.9),
    (12, 10, 32, 30, 0, 0.8),
    (10, 12, 30, 32, 1, 0.7),
    (70, 50, 90, 70, 2, 0.6),
)


@pytest.mark.parametrize(
    ("options", "confidences"),
    [
        ({}, [0.9, 0.7, 0.6]),  # IoU 0.818 with the second; 0.7 is the usual limit
        ({"iou_threshold": 0.9}, [0.9, 0.8, 0.7, 0.6]),
        ({"iou_threshold": 0.0}, [0.9, 0.7, 0.6]),
        ({"class_agnostic": True}, [0.9, 0.6]),
        ({"max_detections": 1}, [0.9]),
        ({"max_detections": 2}, [0.9, 0.7]),
        ({"confidence_threshold": 0.65}, [0.9, 0.7]),
        ({"confidence_threshold": 0.95}, []),
        ({"confidence_threshold": 1.0}, []),
        ({"confidence_thresholds": {"plant": 0.95}}, [0.7, 0.6]),
        ({"confidence_thresholds": {"plant": 0.85, "pot": 0.7}}, [0.9, 0.7]),
        ({"confidence_threshold": 0.99, "confidence_thresholds": {"tray": 0.1}}, [0.7]),
        ({"labels": ("tray",)}, [0.7]),
        ({"labels": ("pot", "tray")}, [0.7, 0.6]),
        ({"labels": ()}, []),
        ({"labels": ("tray",), "confidence_thresholds": {"plant": 0.1}}, [0.7]),
        ({"labels": ("tray",), "confidence_thresholds": {"tray": 0.8}}, []),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["raw", "v5"])
def test_options_select_detections(
    kind: models.LayoutName, options: dict[str, Any], confidences: list[float], put_model: PutModel
) -> None:
    boxes = on_canvas(OVERLAPPING_BOXES, (80, 100), (80, 100))
    metadata = {"names": str(list(THREE))}  # v5 names its classes too
    data = models.detect_in_layout(kind, boxes, labels=THREE, canvas_hw=(80, 100), metadata=metadata)
    detections = detect(put_model, data, white((80, 100)), **options)
    assert detections.confidences.tolist() == pytest.approx(confidences)


@pytest.mark.parametrize(
    ("options", "confidences"),
    [
        ({}, [0.9, 0.8, 0.7, 0.6]),
        ({"iou_threshold": 0.1, "class_agnostic": True}, [0.9, 0.8, 0.7, 0.6]),  # with a warning
        ({"max_detections": 3}, [0.9, 0.8, 0.7]),
        ({"confidence_threshold": 0.75}, [0.9, 0.8]),
        ({"confidence_thresholds": {"plant": 0.85}}, [0.9, 0.7, 0.6]),
        ({"labels": ("pot",)}, [0.6]),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["end_to_end", "nms", "rtdetr"])
def test_model_with_built_in_suppression_is_not_suppressed_again(
    kind: models.LayoutName, options: dict[str, Any], confidences: list[float], put_model: PutModel
) -> None:
    boxes = on_canvas(OVERLAPPING_BOXES, (80, 100), (80, 100))
    data = models.detect_in_layout(kind, boxes, labels=THREE, canvas_hw=(80, 100))
    detections = detect(put_model, data, white((80, 100)), **options)
    assert detections.confidences.tolist() == pytest.approx(confidences)


@pytest.mark.parametrize(
    ("kind", "options", "messages"),
    [
        ("raw", {"confidence_threshold": 0.01, "iou_threshold": 0.2, "class_agnostic": True}, []),
        ("v5", {"confidence_threshold": 0.01, "iou_threshold": 0.2}, []),
        ("nms", {}, []),
        ("nms", {"confidence_threshold": 0.5}, []),
        ("nms", {"confidence_threshold": 0.1}, ["confidence_threshold 0.1"]),
        ("nms", {"confidence_thresholds": {"plant": 0.05}}, ["confidence_threshold 0.05"]),
        ("nms", {"iou_threshold": 0.5}, ["iou_threshold 0.5"]),
        ("nms", {"class_agnostic": True}, ["class_agnostic true"]),
        (
            "nms",
            {"confidence_threshold": 0.1, "iou_threshold": 0.5},
            ["confidence_threshold 0.1", "iou_threshold"],
        ),
        ("end_to_end", {"confidence_threshold": 0.01}, []),  # its rows are there, however weak
        ("end_to_end", {"iou_threshold": 0.5}, ["no effect"]),
        ("rtdetr", {"iou_threshold": 0.5}, ["no effect"]),
        ("rtdetr_raw", {"class_agnostic": True}, ["no effect"]),
    ],
    ids=str,
)
def test_options_the_model_cannot_honour_are_warned_of(
    kind: models.LayoutName, options: dict[str, Any], messages: list[str], put_model: PutModel
) -> None:
    put_model(models.detect_in_layout(kind, labels=THREE))
    warnings = DetectorProcessor(tenant_id="tenant-001", options=BoxOptions(**options)).warnings
    assert len(warnings) == len(messages)
    for warning, message in zip(warnings, messages, strict=True):
        assert message in warning
        assert "detect.onnx" in warning


@pytest.mark.parametrize(
    "options", [{"labels": ("weed",)}, {"confidence_thresholds": {"plant": 0.5, "weed": 0.5}}]
)
@pytest.mark.parametrize("kind", models.LAYOUTS)
def test_unknown_label_is_rejected_with_the_known_ones(
    kind: models.LayoutName, options: dict[str, Any], put_model: PutModel
) -> None:
    put_model(models.detect_in_layout(kind, labels=THREE, metadata={"names": str(list(THREE))}))
    with pytest.raises(InvalidPipeline, match="'weed'; the model's labels: plant, tray, pot"):
        DetectorProcessor(tenant_id="tenant-001", options=BoxOptions(**options))


def test_message_for_a_long_unknown_label_is_short(put_model: PutModel) -> None:
    put_model(models.detect_in_layout("raw", labels=tuple(f"label number {number}" for number in range(500))))
    with pytest.raises(InvalidPipeline) as caught:
        DetectorProcessor(tenant_id="tenant-001", options=BoxOptions(labels=("x\ny" * 1000,)))
    assert len(str(caught.value)) < 500
    assert "\n" not in str(caught.value)


def test_label_selects_all_classes_of_that_name(put_model: PutModel) -> None:
    data = models.detect_in_layout(
        "raw",
        on_canvas(OVERLAPPING_BOXES, (80, 100), (80, 100)),
        labels=("pot", "pot", "tray"),
        canvas_hw=(80, 100),
    )
    detections = detect(put_model, data, white((80, 100)), labels=("pot",))
    assert detections.class_ids.tolist() == [0, 1]


# Labels beyond the names of a file whose answer has a class's number

UNNAMED_CLASSES = (
    (16, 16, 16, 16, 0, 0.9),
    (44, 40, 24, 16, 7, 0.8),
    (20, 50, 8, 8, 9999, 0.7),
    (50, 10, 8, 8, 10_000, 0.6),
)


@pytest.mark.parametrize("kind", ["end_to_end", "nms", "rtdetr"])
@pytest.mark.parametrize("labels", [("plant",), ("plant", "tray"), THREE])
def test_classes_beyond_the_names_keep_their_numbers(
    kind: models.LayoutName, labels: tuple[str, ...], put_model: PutModel
) -> None:
    put_model(models.detect_in_layout(kind, UNNAMED_CLASSES, labels=labels))
    detections = DetectorProcessor(tenant_id="tenant-001").process(white((64, 64)))
    assert detections.class_ids.tolist() == [0, 7, 9999]


@pytest.mark.parametrize("without_names", [False, True])
@pytest.mark.parametrize(
    ("options", "class_ids"),
    [
        ({"labels": ("class7",)}, [7]),
        ({"labels": ("class9999", "class7")}, [7, 9999]),
        ({"labels": ("class41",)}, []),
        ({"confidence_thresholds": {"class7": 0.85}}, [0, 9999]),
        ({"confidence_threshold": 0.95, "confidence_thresholds": {"class7": 0.1}}, [7]),
    ],
    ids=str,
)
def test_numbered_labels_can_be_selected(
    options: dict[str, Any], class_ids: list[int], *, without_names: bool, put_model: PutModel
) -> None:
    nameless = {"task": "detect", "end2end": "True"} if without_names else None
    data = models.detect_in_layout(
        "end_to_end", UNNAMED_CLASSES, metadata=nameless, without_metadata=without_names
    )
    assert detect(put_model, data, white((64, 64)), **options).class_ids.tolist() == class_ids


@pytest.mark.parametrize("label", ["class10000", "class-1", "class", "class07x", "class٣", "class0"])
def test_invalid_numbered_labels_are_rejected(label: str, put_model: PutModel) -> None:
    put_model(models.detect_in_layout("end_to_end", UNNAMED_CLASSES))
    with pytest.raises(InvalidPipeline):
        DetectorProcessor(tenant_id="tenant-001", options=BoxOptions(labels=(label,)))


# What a model may not answer


@pytest.mark.parametrize("kind", models.LAYOUTS)
@pytest.mark.parametrize("score", [1.5, np.inf])
def test_confidence_above_one_is_an_invalid_model(
    kind: models.LayoutName, score: float, put_model: PutModel
) -> None:
    data = models.detect_in_layout(kind, ((16, 16, 16, 16, 0, score),), labels=THREE)
    with pytest.raises(InvalidModel):
        detect(put_model, data, white((64, 64)))


@pytest.mark.parametrize("kind", models.LAYOUTS)
@pytest.mark.parametrize("score", [-1, 0])
def test_scores_not_above_the_threshold_are_dropped(
    kind: models.LayoutName, score: float, put_model: PutModel
) -> None:
    boxes = ((16, 16, 16, 16, 0, score), (40, 40, 8, 8, 1, 0.8))
    detections = detect(put_model, models.detect_in_layout(kind, boxes, labels=THREE), white((64, 64)))
    assert detections.class_ids.tolist() == [1]


@pytest.mark.parametrize("kind", models.LAYOUTS)
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize(
    "box",
    [
        pytest.param((16, 16, 16, 16, 0, np.nan), id="score"),
        pytest.param((16, 16, np.nan, 16, 0, 0.9), id="width"),
        pytest.param((np.nan, np.nan, np.nan, np.nan, 0, np.nan), id="everything"),
    ],
)
def test_output_that_is_not_finite_is_an_invalid_model(
    kind: models.LayoutName, *, half: bool, box: tuple[float, float, float, float, int, float], put_model: PutModel
) -> None:
    boxes = (box, (40, 40, 8, 8, 1, 0.8))
    data = models.detect_in_layout(kind, boxes, labels=THREE, half=half)
    with pytest.raises(InvalidModel, match="not finite"):
        detect(put_model, data, white((64, 64)))


@pytest.mark.parametrize("kind", models.LAYOUTS)
@pytest.mark.parametrize("size_wh", [(-16, 24), (16, -24), (-16, -24)])
def test_swapped_corners_of_a_box_are_put_in_order(
    kind: models.LayoutName, size_wh: tuple[int, int], put_model: PutModel
) -> None:
    boxes = ((30, 30, *size_wh, 0, 0.9), (50, 10, 8, 8, 1, 0.8))
    detections = detect(put_model, models.detect_in_layout(kind, boxes, labels=THREE), white((64, 64)))
    assert detections.boxes_xyxy.tolist() == [[22, 18, 38, 42], [46, 6, 54, 14]]


@pytest.mark.parametrize("kind", models.LAYOUTS)
def test_box_without_an_area_after_clipping_is_kept(kind: models.LayoutName, put_model: PutModel) -> None:
    data = models.detect_in_layout(kind, ((-30, 30, 20, 20, 0, 0.9),), labels=THREE)
    assert detect(put_model, data, white((64, 64))).boxes_xyxy.tolist() == [[0, 20, 0, 40]]


# A model that looks at the pixels


def test_blobs_are_detected_to_the_pixel(put_model: PutModel) -> None:
    image = scene((64, 64), [(10, 20, 30, 28), (40, 5, 46, 25, (0, 0, 255)), (0, 60, 9, 64)])
    detections = detect(put_model, models.blob_detector(), image)
    assert sorted(detections.boxes_xyxy.tolist()) == [[0, 60, 9, 64], [10, 20, 30, 28], [40, 5, 46, 25]]
    assert sorted(detections.class_ids.tolist()) == [0, 0, 1]


@pytest.mark.parametrize("dynamic", [False, True])
def test_blobs_of_an_enlarged_image_keep_their_boxes(*, dynamic: bool, put_model: PutModel) -> None:
    image = scene((32, 32), [(4, 6, 14, 16), (20, 20, 28, 30, RED)])
    detections = detect(put_model, models.blob_detector(dynamic=dynamic), image)
    assert sorted(detections.boxes_xyxy.tolist()) == [[4, 6, 14, 16], [20, 20, 28, 30]]
