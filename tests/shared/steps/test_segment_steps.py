"""Tests the steps that make, filter, count and measure segments, and what they need before them."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from shared.config import Config
from shared.errors import InvalidPipeline, ModelNotFound
from shared.ml.model_cache import ModelCache
from shared.processing_context import ProcessingContext
from shared.processors.box_processor import BoxOptions
from shared.processors.segmentation_processor import SegmentOptions
from shared.processors.sliced_processor import SliceOptions
from shared.steps.aggregate_step import AggregateStep
from shared.steps.classification_step import ClassificationStep
from shared.steps.detection_step import DetectionStep
from shared.steps.sahi_detection_step import SAHIDetectionStep
from shared.steps.segment_filter_step import SegmentFilterStep
from shared.steps.segmentation_step import SegmentationStep
from shared.steps.size_statistics_step import SizeStatisticsStep
from shared.steps.step import STEPS, Step
from shared.steps.within_segments_step import WithinSegmentsStep
from shared.vision.arrays import BoolArray, Pixels
from shared.vision.boxes.detections import Detections
from testing import models
from testing.memory_store import PutModel
from testing.present import present
from testing.scenes import BLUE, GREEN, RED, WHITE, Rectangle, scene

CONFIG = Config(gcs_bucket="b", error_topic="e")
IMAGE_HW = (64, 96)


def context(image: Pixels | None = None) -> ProcessingContext:
    return ProcessingContext(tenant_id="tenant-001", image=scene(IMAGE_HW) if image is None else image)


def bed(x1: int, y1: int, x2: int, y2: int, hole: tuple[int, int, int, int] | None = None) -> BoolArray:
    pixels = np.zeros(IMAGE_HW, bool)
    pixels[y1:y2, x1:x2] = True
    if hole:
        pixels[hole[1] : hole[3], hole[0] : hole[2]] = False
    return pixels


def with_marker(image: Pixels) -> Pixels:
    """Draw a green dot in a corner: it triggers the planted segments, and is no blob."""
    image = image.copy()
    image[63, 95] = GREEN
    return image


# A path of 8 px between two beds, and a small bed. Areas: 1600, 1280, 512, 64.
BEDS = (
    (0, 0.9, bed(0, 0, 40, 40)),
    (0, 0.8, bed(48, 0, 80, 40)),
    (1, 0.7, bed(40, 0, 48, 64)),
    (0, 0.6, bed(0, 50, 8, 58)),
)


@pytest.fixture
def segmented(put_model: PutModel) -> Callable[..., ProcessingContext]:
    """Return a function that segments a scene: its rectangles, and the segments to find."""

    def segment(
        rectangles: Sequence[Rectangle] = (), beds: Sequence[Any] = BEDS, resolution: Any = "image"
    ) -> ProcessingContext:
        put_model(models.segment(beds), "segment")
        put_model(models.blob_detector(canvas_hw=IMAGE_HW))
        step = SegmentationStep(options=SegmentOptions(resolution=resolution, iou_threshold=1.0))
        return step.execute(context(with_marker(scene(IMAGE_HW, rectangles))))

    return segment


def boxes(ctx: ProcessingContext) -> list[tuple[Any, ...]]:
    """Return boxes with colours in whole px: a crop is scaled up by a fraction, which blurs borders."""
    colours = (RED, BLUE)
    rows = zip(
        present(ctx.detections).boxes_xyxy.round().tolist(),
        present(ctx.detections).class_ids.tolist(),
        strict=True,
    )
    return [(*box, colours[class_id]) for box, class_id in rows]


# segment


def test_segment_adds_segments_and_keeps_detections(put_model: PutModel) -> None:
    put_model(models.segment(BEDS), "segment")
    put_model(models.detect())
    before = DetectionStep().execute(context(with_marker(scene(IMAGE_HW))))
    after = SegmentationStep(run_lengths=True).execute(before)
    assert before.segments is None
    assert present(after.segments).areas.tolist() == [1600, 1280, 512, 64]
    assert (after.detections is before.detections, after.run_lengths) == (True, True)
    assert set(after.models) == {"detect", "segment"}


# segment_filter


@pytest.mark.parametrize(
    ("options", "areas"),
    [
        ({}, [1600, 1280, 512, 64]),
        ({"labels": ["bed"]}, [1600, 1280, 64]),
        ({"labels": ["path"]}, [512]),
        ({"labels": ["path", "bed"]}, [1600, 1280, 512, 64]),
        ({"labels": []}, []),
        ({"min_area": 64}, [1600, 1280, 512, 64]),
        ({"min_area": 64.5}, [1600, 1280, 512]),
        ({"min_area": 1e9}, []),
        ({"largest": 1}, [1600, 512]),
        ({"largest": 2.0}, [1600, 1280, 512]),
        ({"largest": 30000}, [1600, 1280, 512, 64]),
        ({"labels": ["bed"], "largest": 1}, [1600]),
        ({"labels": ["bed"], "min_area": 1000, "largest": 2}, [1600, 1280]),
    ],
    ids=str,
)
@pytest.mark.parametrize("resolution", ["canvas", "image"])
def test_segment_filter_keeps_wanted_segments(
    options: dict[str, Any], areas: Any, resolution: Any, segmented: Callable[..., ProcessingContext]
) -> None:
    after = SegmentFilterStep.from_json(options, CONFIG).execute(segmented(resolution=resolution))
    assert present(after.segments).areas.tolist() == areas
    assert len(present(after.segments).detections) == len(areas)


@pytest.mark.parametrize("options", [{}, {"labels": ["bed"]}, {"min_area": 5}, {"largest": 1}])
def test_segment_filter_of_no_segments_keeps_none(
    options: dict[str, Any], segmented: Callable[..., ProcessingContext]
) -> None:
    assert len(present(SegmentFilterStep.from_json(options, CONFIG).execute(segmented(beds=())).segments)) == 0


@pytest.mark.parametrize("beds", [(), BEDS])
def test_segment_filter_rejects_unknown_label(
    beds: Sequence[Any], segmented: Callable[..., ProcessingContext]
) -> None:
    with pytest.raises(InvalidPipeline, match="'pond'; the model's labels: bed, path"):
        SegmentFilterStep(labels=("pond",)).execute(segmented(beds=beds))


def test_segment_filter_takes_numbered_labels_of_unnamed_classes(put_model: PutModel) -> None:
    for beds, kept in ((BEDS, 1), ((), 0)):
        put_model(models.segment(beds, kind="end_to_end", without_metadata=True), "segment")
        ctx = SegmentationStep().execute(context(with_marker(scene(IMAGE_HW))))
        assert len(present(SegmentFilterStep(labels=("class1",)).execute(ctx).segments)) == kept


def test_segment_filter_renumbers_segment_index(segmented: Callable[..., ProcessingContext]) -> None:
    beds = (*BEDS[:3], (0, 0.6, bed(0, 44, 30, 64)))
    ctx = WithinSegmentsStep().execute(segmented([(50, 5, 60, 15), (16, 4, 26, 14), (4, 48, 12, 58)], beds))

    def segment_index(ctx: ProcessingContext) -> list[int]:
        """Return it for the detections from left to right."""
        order = np.argsort(present(ctx.detections).boxes_xyxy[:, 0])
        return [int(index) for index in present(ctx.segment_index)[order]]

    assert segment_index(ctx) == [3, 0, 1]
    assert segment_index(SegmentFilterStep(min_area=1000).execute(ctx)) == [-1, 0, 1]
    assert segment_index(SegmentFilterStep(largest=1, labels=("path",)).execute(ctx)) == [-1, -1, -1]
    assert segment_index(SegmentFilterStep(labels=()).execute(ctx)) == [-1, -1, -1]


def test_new_detections_or_segments_reset_segment_index(segmented: Callable[..., ProcessingContext]) -> None:
    ctx = WithinSegmentsStep().execute(segmented([(50, 5, 60, 15)]))
    for step in (
        DetectionStep(),
        SAHIDetectionStep(),
        SegmentationStep(),
        SAHIDetectionStep(model="segment", options=SegmentOptions()),
    ):
        assert step.execute(ctx).segment_index is None


# within_segments

INSIDE = [(4, 4, 14, 14), (20, 20, 30, 36, BLUE), (60, 10, 72, 18)]
OUTSIDE = [(84, 4, 94, 14), (20, 44, 30, 54, BLUE)]


@pytest.mark.parametrize("detector", ["detect", "sahi_detect"])
@pytest.mark.parametrize("resolution", ["canvas", "image"])
def test_within_segments_detects_inside_segments_only(
    detector: Any, resolution: Any, segmented: Callable[..., ProcessingContext]
) -> None:
    ctx = segmented([*INSIDE, *OUTSIDE], BEDS[:2], resolution)
    after = WithinSegmentsStep.from_json({"detector": detector}, CONFIG).execute(ctx)
    detections = boxes(after)
    assert dict(zip(detections, present(after.segment_index).tolist(), strict=True)) == {
        (4, 4, 14, 14, RED): 0,
        (20, 20, 30, 36, BLUE): 0,
        (60, 10, 72, 18, RED): 1,
    }
    assert after.models["detect"].source.uri.endswith("detect.onnx")
    assert len(present(after.tiles)) == (2 if detector == "sahi_detect" else 0)


def test_within_segments_without_segments_is_empty(segmented: Callable[..., ProcessingContext]) -> None:
    after = WithinSegmentsStep().execute(segmented(INSIDE, ()))
    assert (len(present(after.detections)), len(present(after.segment_index)), present(after.tiles).shape) == (
        0,
        0,
        (0, 4),
    )
    assert set(after.models) == {"segment", "detect"}


def test_within_segments_needs_a_detector_even_without_segments(put_model: PutModel) -> None:
    put_model(models.segment(), "segment")
    ctx = SegmentationStep().execute(context())
    with pytest.raises(ModelNotFound):
        WithinSegmentsStep().execute(ctx)


def test_within_segments_masks_out_surroundings(segmented: Callable[..., ProcessingContext]) -> None:
    """Half of each object lies in the hole: what is left of it has its middle elsewhere."""
    beds = ((0, 0.9, bed(0, 0, 64, 64, hole=(20, 20, 44, 44))),)
    ctx = segmented([(24, 24, 40, 40), (4, 4, 14, 14), (14, 50, 26, 56)], beds)
    after = WithinSegmentsStep().execute(ctx)
    assert sorted(boxes(after)) == [(4, 4, 14, 14, RED), (14, 50, 26, 56, RED)]


@pytest.mark.parametrize("middle", [36, 39, 40, 41, 44])
@pytest.mark.parametrize("detector", ["detect", "sahi_detect"])
def test_object_across_two_segments_counts_once(
    middle: int, detector: Any, segmented: Callable[..., ProcessingContext]
) -> None:
    beds = ((0, 0.9, bed(0, 0, 40, 64)), (1, 0.8, bed(40, 0, 80, 64)))
    rectangle = (middle - 6, 20, middle + 5, 30)
    ctx = segmented([rectangle, (4, 40, 14, 50), (60, 40, 70, 50)], beds)
    after = WithinSegmentsStep(detector=detector).execute(ctx)
    assert sorted(boxes(after)) == sorted([(*rectangle, RED), (4, 40, 14, 50, RED), (60, 40, 70, 50, RED)])
    assert sorted(present(after.segment_index).tolist()) == ([0, 0, 1] if middle - 0.5 < 40 else [0, 1, 1])


def test_object_in_two_overlapping_segments_counts_once(segmented: Callable[..., ProcessingContext]) -> None:
    beds = ((0, 0.9, bed(0, 0, 50, 64)), (1, 0.8, bed(30, 0, 80, 64)))
    after = WithinSegmentsStep().execute(segmented([(34, 20, 46, 30), (60, 20, 70, 30)], beds))
    assert sorted(boxes(after)) == [(34, 20, 46, 30, RED), (60, 20, 70, 30, RED)]
    assert len(set(present(after.segment_index).tolist())) == 2


def test_overlapping_objects_of_one_segment_are_both_kept(put_model: PutModel) -> None:
    """IoU 0.6, IoS 0.75: the detector's suppression or the merging of tiles has kept both."""
    put_model(models.segment(BEDS[:1]), "segment")
    put_model(
        models.detect_in_layout("raw", ((20, 20, 20, 20, 0, 0.9), (25, 20, 20, 20, 0, 0.8)), canvas_hw=(40, 40))
    )
    image = with_marker(scene(IMAGE_HW, [(0, 0, 40, 40, WHITE)]))
    ctx = SegmentationStep(options=SegmentOptions(resolution="image")).execute(context(image))
    for detector in ("detect", "sahi_detect"):
        step = WithinSegmentsStep(detector=detector, slices=SliceOptions(threshold=0.8))
        assert len(present(step.execute(ctx).detections)) == 2
    assert len(present(WithinSegmentsStep(slices=SliceOptions(threshold=0.7)).execute(ctx).detections)) == 1


def test_within_segments_takes_the_detectors_options(segmented: Callable[..., ProcessingContext]) -> None:
    ctx = segmented(INSIDE, BEDS[:2])
    step = WithinSegmentsStep.from_json({"labels": ["tray"]}, CONFIG)
    assert [box[4] for box in boxes(step.execute(ctx))] == [BLUE]
    with pytest.raises(InvalidPipeline, match="'bed'; the model's labels: plant, tray"):
        WithinSegmentsStep(options=BoxOptions(labels=("bed",))).execute(ctx)


# aggregate


@pytest.mark.parametrize("resolution", ["canvas", "image"])
def test_aggregate_assigns_the_first_segment_with_the_centre(
    resolution: Any, segmented: Callable[..., ProcessingContext]
) -> None:
    beds = (*BEDS[:2], (1, 0.7, bed(30, 0, 60, 64)))
    rectangles = [(4, 4, 14, 14), (33, 4, 39, 12, BLUE), (42, 50, 47, 60), (84, 4, 94, 14)]
    ctx = DetectionStep().execute(segmented(rectangles, beds, resolution))
    after = AggregateStep().execute(ctx)
    segment_index = {
        box[:2]: segment_position
        for box, segment_position in zip(boxes(after), present(after.segment_index).tolist(), strict=True)
    }
    assert segment_index == {(4, 4): 0, (33, 4): 0, (42, 50): 2, (84, 4): -1}
    assert after.include_segment_counts


def test_aggregate_keeps_an_existing_segment_index(segmented: Callable[..., ProcessingContext]) -> None:
    ctx = WithinSegmentsStep().execute(segmented(INSIDE))
    assert AggregateStep().execute(ctx).segment_index is ctx.segment_index


def test_aggregate_without_objects_or_segments(
    segmented: Callable[..., ProcessingContext], put_model: PutModel
) -> None:
    ctx = DetectionStep().execute(segmented((), ()))
    assert present(AggregateStep().execute(ctx).segment_index).shape == (0,)
    put_model(models.detect())
    assert AggregateStep().execute(DetectionStep().execute(context())).segment_index is None


# sahi_detect


def test_sahi_detect_gives_detections_or_segments_by_model(put_model: PutModel) -> None:
    put_model(models.blob_detector())
    put_model(models.blob_detector("segment"), "segment")
    ctx = context(scene((64, 100), [(4, 4, 14, 14), (50, 30, 60, 44, BLUE)]))
    after = SAHIDetectionStep.from_json({"overlap": 0.5, "full_image": False}, CONFIG).execute(ctx)
    assert sorted(boxes(after)) == [(4, 4, 14, 14, RED), (50, 30, 60, 44, BLUE)]
    assert present(after.tiles).tolist() == [[0, 0, 64, 64], [32, 0, 96, 64], [36, 0, 100, 64]]
    step = SAHIDetectionStep.from_json({"model": "segment", "overlap": 0.5, "full_image": False}, CONFIG)
    assert step.model_types == ("segment",)
    after = step.execute(ctx)
    assert after.detections is None
    assert sorted(present(after.segments).areas.tolist()) == [100, 140]
    assert set(after.models) == {"segment"}


# size_statistics


def sized(*areas: float, class_ids: list[int] | None = None) -> ProcessingContext:
    """Return a context with squares of these areas."""
    sides = np.sqrt(np.array(areas, np.float64))
    rng = np.random.default_rng(1)
    corners = rng.uniform(0, 50, (len(sides), 2))
    detections = Detections(
        np.concatenate((corners, corners + sides[:, None]), axis=1).astype(np.float32).reshape(-1, 4),
        np.full(len(sides), 0.5, np.float32),
        np.array(class_ids or [0] * len(sides), np.int64),
    )
    model = ModelCache.get_model(tenant_id="tenant-001", model_type="detect")
    return ProcessingContext(
        tenant_id="tenant-001", image=scene(IMAGE_HW), detections=detections, models={"detect": model}
    )


@pytest.fixture
def detects(put_model: PutModel) -> None:
    put_model(models.detect())


@pytest.mark.parametrize(
    ("areas", "bands"),
    [
        ((100,), {"small": 0, "medium": 1, "large": 0}),
        ((100, 100, 100), {"small": 0, "medium": 3, "large": 0}),
        ((123.4567,) * 7, {"small": 0, "medium": 7, "large": 0}),
        ((0.1,) * 3, {"small": 0, "medium": 3, "large": 0}),
        ((100, 400), {"small": 0, "medium": 1, "large": 1}),  # z of -1 and 1: each at the foot of its band
        ((100, 200, 200, 200, 200, 300), {"small": 1, "medium": 4, "large": 1}),
    ],
    ids=str,
)
def test_size_bands_follow_z_scores(areas: Any, bands: Any, detects: None) -> None:
    [sizes] = present(SizeStatisticsStep().execute(sized(*areas)).sizes)
    assert (sizes.label, sizes.count, dict(sizes.bands)) == ("plant", len(areas), bands)
    assert sizes.mean_area == pytest.approx(np.mean(areas), rel=1e-4)
    assert sizes.deviation == pytest.approx(np.std(areas), rel=1e-4, abs=0.01)


def test_no_objects_have_no_size_statistics(detects: None) -> None:
    assert SizeStatisticsStep().execute(sized()).sizes == ()


def test_size_statistics_are_per_label(detects: None) -> None:
    ctx = sized(100, 1000, 110, 1100, class_ids=[0, 1, 0, 1])
    plants, trays = present(SizeStatisticsStep().execute(ctx).sizes)
    assert (plants.label, plants.count, trays.label, trays.count) == ("plant", 2, "tray", 2)
    assert (round(plants.mean_area), round(trays.mean_area)) == (105, 1050)


def test_segments_are_measured_by_mask_area(segmented: Callable[..., ProcessingContext]) -> None:
    for resolution in ("canvas", "image"):
        ctx = SizeStatisticsStep(of="segments").execute(segmented(resolution=resolution))
        assert [(each.label, each.count, each.mean_area) for each in present(ctx.sizes)] == [
            ("bed", 3, pytest.approx((1600 + 1280 + 64) / 3)),
            ("path", 1, 512),
        ]


@pytest.mark.parametrize(
    ("bands", "counts"),
    [
        ([{"name": "all"}], {"all": 6}),
        ([{"name": "lower", "below": 0}, {"name": "upper"}], {"lower": 1, "upper": 5}),
        ([{"name": "a", "below": -9}, {"name": "b", "below": 9}, {"name": "c"}], {"a": 0, "b": 6, "c": 0}),
    ],
)
def test_bands_option_sets_the_bands(bands: Any, counts: dict[str, int], detects: None) -> None:
    step = SizeStatisticsStep.from_json({"bands": bands}, CONFIG)
    [sizes] = present(step.execute(sized(100, 200, 200, 200, 200, 300)).sizes)
    if len(bands) == 2:
        assert sum(sizes.bands.values()) == 6
    else:
        assert dict(sizes.bands) == counts


@pytest.mark.parametrize(
    "bands",
    [
        [{"name": "a", "below": 1}],
        [{"name": "a"}, {"name": "b"}],
        [{"name": "a", "below": 1}, {"name": "b", "below": 2}],
        [{"name": "a", "below": 1}, {"name": "b", "below": 1}, {"name": "c"}],
        [{"name": "a", "below": 2}, {"name": "b", "below": 1}, {"name": "c"}],
        [{"name": "a", "below": 1}, {"name": "a"}],
        [{"name": "a"}, {"name": "b", "below": 1}, {"name": "c"}],
    ],
    ids=str,
)
def test_invalid_bands_are_rejected(bands: Any) -> None:
    with pytest.raises(InvalidPipeline, match="bands"):
        SizeStatisticsStep.from_json({"bands": bands}, CONFIG)


# classify


def test_classify_adds_a_classification(put_model: PutModel) -> None:
    put_model(models.classify(), "classify")
    after = ClassificationStep.from_json({"top_k": 2.0}, CONFIG).execute(context(scene((9, 9), [(0, 0, 9, 9)])))
    assert present(after.classification).class_ids.tolist() == [0, 1]
    assert set(after.models) == {"classify"}


# A wrong order


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (SegmentFilterStep(), "segment_filter needs a step before it that segments"),
        (WithinSegmentsStep(), "within_segments needs a step before it that segments"),
        (AggregateStep(), "aggregate needs a step before it that detects or segments"),
        (SizeStatisticsStep(), "size_statistics needs a step before it that makes detections"),
        (SizeStatisticsStep(of="segments"), "size_statistics needs a step before it that makes segments"),
    ],
    ids=str,
)
def test_step_without_its_input_is_rejected(step: Step, message: str) -> None:
    with pytest.raises(InvalidPipeline, match=message):
        step.execute(context())


def test_steps_are_frozen_and_have_known_model_types() -> None:
    for name, step_class in STEPS.items():
        step = step_class.from_json({}, CONFIG)
        assert set(step.model_types) <= {"detect", "segment", "classify"}, name
        assert step_class.__dataclass_params__.frozen  # type: ignore[attr-defined]
