"""Tests sliced processors with blob detectors: tiles give what the whole image would give."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.config import Config
from shared.errors import ImageTooLarge, InvalidModel, ModelNotFound
from shared.ml.model_cache import ModelCache
from shared.processors.box_processor import BoxOptions
from shared.processors.detector_processor import DetectorProcessor
from shared.processors.sahi_detector_processor import SAHIDetectorProcessor
from shared.processors.sahi_segmentation_processor import SAHISegmentationProcessor
from shared.processors.segmentation_processor import SegmentationProcessor, SegmentOptions
from shared.processors.sliced_processor import MAX_TILES, SliceOptions, process_areas
from shared.vision.arrays import BoolArray, SizeHW
from shared.vision.boxes.detections import Detections
from shared.vision.boxes.matching import OverlapMetric
from shared.vision.boxes.merge import MergeKind
from shared.vision.masks.segments import Segments
from testing import models
from testing.memory_store import MemoryStore, PutModel
from testing.scenes import BLUE, RED, scattered, scene, white

BLOBS, SEGMENTS = models.blob_detector(), models.blob_detector("segment")
CONFIG = Config(gcs_bucket="b", error_topic="e", slice_size=128, slice_overlap=0.1)


def detector(slices: SliceOptions | None = None, **options: Any) -> SAHIDetectorProcessor:
    return SAHIDetectorProcessor(
        tenant_id="tenant-001", options=BoxOptions(**options) if options else None, slices=slices or OVERLAPPING
    )


def segmenter(slices: SliceOptions | None = None) -> SAHISegmentationProcessor:
    return SAHISegmentationProcessor(tenant_id="tenant-001", slices=slices or OVERLAPPING)


def boxes(answer: Detections) -> list[tuple[Any, ...]]:
    """Return boxes as `scene` takes them: sorted, with their colours."""
    colours = (RED, BLUE)
    rows = zip(answer.boxes_xyxy.tolist(), answer.class_ids.tolist(), strict=True)
    return sorted((*box, colours[class_id]) for box, class_id in rows)


def pixels(segments: Segments, image_hw: SizeHW) -> npt.NDArray[np.int64]:
    """Return (h, w): in how many masks each pixel is."""
    seen = np.zeros(image_hw, int)
    for mask in segments.masks:
        height, width = mask.pixels.shape
        seen[mask.top : mask.top + height, mask.left : mask.left + width] += mask.pixels
    return seen


# Objects are up to 20 px a side, and two tiles have 32 px in common: each object is whole in one of them.
OVERLAPPING = SliceOptions(slice_hw=(64, 64), overlap=0.5, full_image=False)


def test_image_without_objects_has_none(put_model: PutModel) -> None:
    put_model(BLOBS)
    put_model(SEGMENTS, "segment")
    assert len(detector().process(scene((150, 200)))) == 0
    assert len(segmenter().process(scene((150, 200)))) == 0


@given(
    st.integers(0, 10_000),
    st.sampled_from([(64, 64), (150, 200), (200, 90), (65, 64), (40, 300), (64, 40), (130, 64)]),
    st.sampled_from(
        [
            (MergeKind.GREEDYNMM, OverlapMetric.IOS),
            (MergeKind.NMM, OverlapMetric.IOS),
            (MergeKind.NMS, OverlapMetric.IOS),
        ]
    ),
)
@settings(max_examples=40)
def test_objects_are_detected_whole_and_once(
    blob_models: None, seed: int, image_hw: SizeHW, merging: tuple[MergeKind, OverlapMetric]
) -> None:
    rectangles = scattered(seed, image_hw, 1 + image_hw[0] * image_hw[1] // 2500)
    kind, metric = merging
    slices = SliceOptions(slice_hw=(64, 64), overlap=0.5, full_image=False, kind=kind, metric=metric)
    assert boxes(detector(slices).process(scene(image_hw, rectangles))) == sorted(rectangles)


@pytest.fixture(scope="module")
def blob_models() -> Iterator[None]:
    """Store blob models once, for tests that hypothesis repeats."""
    store = MemoryStore()
    store.put("models/tenant-001/detect.onnx", BLOBS)
    store.put("models/tenant-001/segment.onnx", SEGMENTS)
    ModelCache.configure(store, bucket="b", threads=1)
    yield
    ModelCache.clear_cache()


@given(st.integers(0, 10_000), st.sampled_from([(64, 64), (150, 200), (200, 90), (40, 130)]))
@settings(max_examples=20)
def test_objects_are_segmented_to_the_pixel(blob_models: None, seed: int, image_hw: SizeHW) -> None:
    rectangles = scattered(seed, image_hw, 1 + image_hw[0] * image_hw[1] // 2500)
    image = scene(image_hw, rectangles)
    answer = segmenter().process(image)
    assert boxes(answer.detections) == sorted(rectangles)
    np.testing.assert_array_equal(pixels(answer, image_hw), image.max(axis=2) > 0)
    assert answer.canvas is None
    assert [mask.area for mask in answer.masks] == [
        int((x2 - x1) * (y2 - y1)) for x1, y1, x2, y2 in answer.detections.boxes_xyxy.tolist()
    ]


def test_object_across_four_tiles_is_merged(put_model: PutModel) -> None:
    """No tile contains it whole; with a little overlap, its parts match the largest of them."""
    put_model(BLOBS)
    image = scene((128, 128), [(56, 58, 76, 74)])
    slices = SliceOptions(slice_hw=(64, 64), overlap=0.2, full_image=False)
    assert boxes(detector(slices).process(image)) == [(56, 58, 76, 74, RED)]
    put_model(SEGMENTS, "segment")
    answer = segmenter(slices).process(image)
    np.testing.assert_array_equal(pixels(answer, (128, 128)), image.max(axis=2) > 0)


@pytest.mark.parametrize("image_hw", [(64, 64), (30, 60), (64, 20), (1, 1)])
@pytest.mark.parametrize("full_image", [False, True])
def test_single_tile_equals_the_unsliced_processor(
    image_hw: SizeHW, *, full_image: bool, put_model: PutModel
) -> None:
    put_model(BLOBS)
    put_model(SEGMENTS, "segment")
    image = scene(image_hw, [(2, 3, 8, 9), (10, 12, 19, 30, BLUE), (0, 0, 1, 1)])
    slices = SliceOptions(full_image=full_image)
    unsliced = DetectorProcessor(tenant_id="tenant-001").process(image)
    tiled = detector(slices).process(image)
    assert boxes(tiled) == boxes(unsliced)
    assert tiled.confidences.tolist() == unsliced.confidences.tolist()
    whole = SegmentationProcessor(tenant_id="tenant-001", options=SegmentOptions(resolution="image")).process(
        image
    )
    parts = segmenter(slices).process(image)
    assert boxes(parts.detections) == boxes(whole.detections)
    np.testing.assert_array_equal(pixels(parts, image_hw), pixels(whole, image_hw))


OVERLAP = ((20, 20, 20, 20, 0, 0.9), (25, 20, 20, 20, 0, 0.8))  # IoU 0.6: two to the detector, IOS 0.75


@pytest.mark.parametrize("image_hw", [(64, 64), (64, 128)])
def test_detections_of_a_single_tile_are_merged(image_hw: SizeHW, put_model: PutModel) -> None:
    """Two objects of the detector may be one by IoS, whatever the size of the image."""
    put_model(models.detect_in_layout("raw", OVERLAP))
    put_model(models.segment([(0, 0.9, block(10)), (0, 0.8, block(15))]), "segment")
    tiles = SliceOptions(overlap=0.0, full_image=False)
    for processor in (detector(tiles), segmenter(tiles)):
        assert len(processor.process(white(image_hw))) == image_hw[1] // 64
    strict = SliceOptions(threshold=0.8)
    for processor in (detector(strict), segmenter(strict)):
        assert len(processor.process(white((64, 64)))) == 2


def block(left: int) -> BoolArray:
    pixels = np.zeros((64, 64), bool)
    pixels[10:30, left : left + 20] = True
    return pixels


def test_class_agnostic_applies_to_merging_only(put_model: PutModel) -> None:
    """Suppression within a tile keeps classes apart; merging joins them."""
    boxes = ((20, 20, 20, 20, 0, 0.9), (22, 20, 20, 20, 1, 0.8))
    for kind in ("raw", "end_to_end"):
        put_model(models.detect_in_layout(kind, boxes))
        processor = detector(SliceOptions(), class_agnostic=True)
        assert processor.process(white((64, 64))).boxes_xyxy.tolist() == [[10, 10, 32, 30]]
        assert processor.warnings == ()
    put_model(models.segment([(0, 0.9, block(10)), (1, 0.8, block(12))]), "segment")
    sliced_segmenter = SAHISegmentationProcessor(
        tenant_id="tenant-001", options=SegmentOptions(class_agnostic=True)
    )
    assert [mask.area for mask in sliced_segmenter.process(white((64, 64))).masks] == [20 * 22]


def test_full_image_detects_what_is_larger_than_a_tile(put_model: PutModel) -> None:
    """Larger than a tile sees it, and `MOST` px in the canvas."""
    put_model(BLOBS)
    image = scene((128, 128), [(20, 20, 66, 66)])
    tiles = SliceOptions(slice_hw=(32, 32), overlap=0.0, full_image=False)
    assert boxes(detector(tiles).process(image)) != [(20, 20, 66, 66, RED)]
    everything = SliceOptions(slice_hw=(32, 32), overlap=0.0)
    assert (20, 20, 66, 66, RED) in boxes(detector(everything).process(image))


@pytest.mark.parametrize(
    ("options", "image_hw", "areas"),
    [
        (SliceOptions(), (64, 64), [[0, 0, 64, 64]]),
        (SliceOptions(), (10, 20), [[0, 0, 20, 10]]),
        (SliceOptions(full_image=False), (64, 100), [[0, 0, 64, 64], [36, 0, 100, 64]]),
        (SliceOptions(), (64, 100), [[0, 0, 64, 64], [36, 0, 100, 64], [0, 0, 100, 64]]),
        (
            SliceOptions(slice_hw=(32, 100), overlap=0),
            (64, 100),
            [[0, 0, 100, 32], [0, 32, 100, 64], [0, 0, 100, 64]],
        ),
    ],
)
def test_areas_are_tiles_then_full_image(
    options: SliceOptions, image_hw: SizeHW, areas: Any, put_model: PutModel
) -> None:
    put_model(BLOBS)
    assert detector(options).areas(image_hw).tolist() == areas


def test_slice_options_default_to_settings_then_canvas() -> None:
    assert SliceOptions.from_json({}, Config(gcs_bucket="b", error_topic="e")) == SliceOptions()
    assert SliceOptions.from_json({}, CONFIG) == SliceOptions(slice_hw=(128, 128), overlap=0.1)
    options = {"slice_size": [96, 64], "overlap": 0, "merge": "NMS", "merge_metric": "IOU", "merge_threshold": 1}
    assert SliceOptions.from_json({**options, "full_image": False}, CONFIG) == SliceOptions(
        slice_hw=(96, 64),
        overlap=0.0,
        full_image=False,
        kind=MergeKind.NMS,
        metric=OverlapMetric.IOU,
        threshold=1.0,
    )
    assert SliceOptions.from_json({"slice_size": 640.0}, CONFIG).slice_hw == (640, 640)
    assert SliceOptions.from_json({"slice_size": [640.0, 320.0]}, CONFIG).slice_hw == (640, 320)


def test_too_many_tiles_are_rejected_before_they_are_made(put_model: PutModel) -> None:
    put_model(BLOBS)
    tiny = SliceOptions(slice_hw=(32, 32), overlap=0.9)
    with pytest.raises(ImageTooLarge, match=f"tiles of 32 x 32 px; the limit is {MAX_TILES}"):
        detector(tiny).areas((60_000, 60_000))
    assert len(detector(SliceOptions(slice_hw=(32, 32), overlap=0.0)).areas((2048, 2048))) == MAX_TILES + 1


def test_failure_on_a_tile_raises(put_model: PutModel) -> None:
    put_model(models.failing())
    with pytest.raises(InvalidModel):
        detector().process(white((128, 128)))


def test_missing_model_raises(put_model: PutModel) -> None:
    for make, name in ((detector, "detect"), (segmenter, "segment")):
        with pytest.raises(ModelNotFound, match=f"'{name}'"):
            make()


def test_box_options_apply_to_tiles(put_model: PutModel) -> None:
    put_model(BLOBS)
    image = scene((128, 128), [(10, 10, 20, 20), (70, 70, 80, 80, BLUE)])
    assert boxes(detector(labels=("tray",)).process(image)) == [(70, 70, 80, 80, BLUE)]
    assert len(detector(confidence_threshold=0.9).process(image)) == 0
    put_model(models.detect_in_layout("nms"))
    assert detector(iou_threshold=0.5).warnings


def test_class_agnostic_merges_classes_of_different_tiles(put_model: PutModel) -> None:
    """Both classes' boxes in each tile, at another place in it: tiles of which each has its own answer."""
    data = models.detect_in_layout("end_to_end", ((20, 20, 20, 20, 0, 0.9), (21, 20, 20, 20, 1, 0.8)))
    put_model(data)
    slices = SliceOptions(slice_hw=(64, 64), overlap=0.0, full_image=False)
    image = white((64, 128))
    assert len(detector(slices).process(image)) == 4
    assert len(detector(slices, class_agnostic=True).process(image)) == 2


def test_concurrent_images_do_not_mix(put_model: PutModel) -> None:
    put_model(BLOBS)
    put_model(SEGMENTS, "segment")
    scenes = [scattered(seed, (150, 130 + 10 * seed), 8) for seed in range(4)]
    images = [scene((150, 130 + 10 * seed), rectangles) for seed, rectangles in enumerate(scenes)]
    boxes_of, masks_of = detector(), segmenter()

    def process(task: int) -> tuple[int, Any, Any]:
        which = task % 4
        segments = masks_of.process(images[which])
        return which, boxes(boxes_of.process(images[which])), boxes(segments.detections)

    with ThreadPoolExecutor(4) as pool:
        for which, answer, segments in pool.map(process, range(12)):
            assert answer == segments == sorted(scenes[which])


def test_repeated_processing_is_deterministic(put_model: PutModel) -> None:
    put_model(BLOBS)
    image = scene((200, 300), scattered(3, (200, 300), 20))
    answers = {detector(SliceOptions()).process(image).boxes_xyxy.tobytes() for _ in range(5)}
    assert len(answers) == 1


def test_process_areas_keeps_the_order_of_areas() -> None:
    image = np.arange(64, dtype=np.uint8).reshape(8, 8, 1).repeat(3, axis=2)
    areas = np.array([[x, y, x + 1, y + 1] for y in range(8) for x in range(8)])
    assert process_areas(image, areas, lambda tile: int(tile[0, 0, 0])) == list(range(64))
    assert process_areas(image, areas[:0], lambda tile: tile) == []


def test_tiles_use_the_single_threaded_worker(put_model: PutModel) -> None:
    put_model(BLOBS)
    detector()
    assert ModelCache.keys() == ["tenant-001_detect_worker_1"]


def test_too_many_mask_pixels_of_all_tiles_are_rejected(
    put_model: PutModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_model(SEGMENTS, "segment")
    image = scene((320, 320), [(x, y, x + 20, y + 20, RED) for x in range(6, 300, 64) for y in range(6, 300, 64)])
    slices = SliceOptions(slice_hw=(64, 64), overlap=0.0, full_image=False)
    assert len(segmenter(slices).process(image)) == 25
    monkeypatch.setattr("shared.vision.masks.masks.MAX_MASK_PIXELS", 9_000)  # of 10,000
    with pytest.raises(ImageTooLarge, match="limit of 9000 px"):
        segmenter(slices).process(image)


def test_more_boxes_in_all_tiles_than_allowed_are_rejected_before_they_are_merged(
    put_model: PutModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_model(models.detect_in_layout("end_to_end", OVERLAP))
    tiles = SliceOptions(slice_hw=(64, 64), overlap=0.0, full_image=False)
    monkeypatch.setattr("shared.vision.boxes.pairs.MAX_BOXES", 8)
    assert len(detector(tiles).process(white((128, 128)))) == 4
    monkeypatch.setattr("shared.vision.boxes.pairs.MAX_BOXES", 7)
    monkeypatch.setattr("shared.processors.sliced_processor.merge", lambda *_, **__: pytest.fail("merged"))
    with pytest.raises(ImageTooLarge, match="at least 8 boxes together, more than the limit of 7: find fewer"):
        detector(tiles).process(white((128, 128)))
