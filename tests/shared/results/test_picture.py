"""Pictures of contexts from real steps and small models: what is shown, in which colours and counts."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest

from shared.processing_context import ProcessingContext
from shared.processors.segmentation_processor import SegmentOptions
from shared.results.picture import render
from shared.steps.aggregate_step import AggregateStep
from shared.steps.classification_step import ClassificationStep
from shared.steps.detection_step import DetectionStep
from shared.steps.segment_filter_step import SegmentFilterStep
from shared.steps.segmentation_step import SegmentationStep
from shared.steps.size_statistics_step import SizeStatisticsStep
from shared.vision.arrays import BoolArray, Pixels
from shared.vision.drawing.annotate import Annotations, annotate
from shared.vision.drawing.colours import Colour, class_colour, diverging_palette, segment_colour
from testing import models
from testing.scenes import BLUE, RED, Rectangle, scene

HW = (384, 512)
SIDES = (12, 12, 12, 12, 12, 30)

Bed = tuple[int, float, BoolArray]  # class id, confidence, pixels
PutModel = Callable[..., int]
Analyse = Callable[..., ProcessingContext]


def context(rectangles: Sequence[Rectangle] = ()) -> ProcessingContext:
    return ProcessingContext(tenant_id="tenant-001", image=scene(HW, rectangles))


def bed(x1: int, y1: int, x2: int, y2: int) -> BoolArray:
    pixels = np.zeros(HW, bool)
    pixels[y1:y2, x1:x2] = True
    return pixels


BEDS: tuple[Bed, ...] = ((0, 0.9, bed(10, 10, 200, 180)), (1, 0.8, bed(260, 10, 450, 180)))


@pytest.fixture
def analyse(put_model: PutModel) -> Analyse:
    """Return a function that runs segmentation and detection on a scene and returns the context."""

    def run(
        rectangles: Sequence[Rectangle] = (),
        beds: Sequence[Bed] = BEDS,
        resolution: Literal["canvas", "image"] = "image",
    ) -> ProcessingContext:
        put_model(models.segment(beds), "segment")
        put_model(models.blob_detector(canvas_hw=HW))
        # The segmentation model answers only if the image has light pixels.
        ctx = context([*rectangles, (500, 376, 508, 384)])
        if beds:
            ctx = SegmentationStep(options=SegmentOptions(resolution=resolution)).execute(ctx)
        return DetectionStep().execute(ctx)

    return run


def has_colour(picture: Pixels, colour: Colour) -> bool:
    return bool((picture == colour).all(axis=2).any())


def test_picture_is_the_image_if_no_step_has_run() -> None:
    ctx = context()
    assert render(ctx) is ctx.image


def test_picture_without_detections_has_only_a_legend(put_model: PutModel) -> None:
    put_model(models.blob_detector(canvas_hw=HW))
    ctx = DetectionStep().execute(context())
    picture = render(ctx)
    assert (ctx.image == 0).all()
    changed = np.argwhere(picture.any(axis=2))
    assert len(changed)
    assert (changed.min(axis=0) > (HW[0] // 2, 0)).all(), "in the lower left"


@pytest.mark.parametrize("resolution", ["canvas", "image"])
def test_segments_and_detections_have_different_colours(resolution: str, analyse: Analyse) -> None:
    ctx = analyse([(40, 60, 70, 90), (300, 60, 330, 90, BLUE)], resolution=resolution)
    assert ctx.segments is not None
    assert ctx.detections is not None
    assert (len(ctx.segments), len(ctx.detections)) == (2, 3)

    picture = render(ctx)

    assert [
        has_colour(picture, each)
        for each in (segment_colour(0), segment_colour(1), class_colour(0), class_colour(1))
    ] == [True] * 4
    assert (ctx.image[200:] == context([(500, 376, 508, 384)]).image[200:]).all()


def test_segment_label_shows_number_of_detections_in_it(analyse: Analyse) -> None:
    ctx = AggregateStep().execute(analyse([(40, 60, 70, 90), (100, 60, 130, 90)]))
    assert ctx.segment_index is not None
    assert ctx.segment_index.tolist().count(0) == 2
    without = render(replace(ctx, segment_index=None))
    fewer = render(replace(ctx, segment_index=np.where(ctx.segment_index == 0, -1, ctx.segment_index)))
    assert (render(ctx) != without).any()
    assert (render(ctx) != fewer).any()


def test_size_bands_replace_class_colours(analyse: Analyse) -> None:
    rectangles = [(20 + 70 * i, 200, 20 + 70 * i + side, 200 + side) for i, side in enumerate(SIDES)]
    ctx = SizeStatisticsStep().execute(analyse(rectangles, beds=()))
    assert ctx.bands is not None
    assert ctx.sizes is not None
    assert ctx.detections is not None
    assert ctx.bands.names == ("small", "medium", "large")
    assert np.bincount(ctx.bands.band_index, minlength=3).tolist() == list(ctx.sizes[0].bands.values())
    largest = ctx.detections.boxes_xyxy[:, 2:].sum(axis=1) - ctx.detections.boxes_xyxy[:, :2].sum(axis=1)
    assert ctx.bands.band_index[largest.argmax()] == 2
    picture = render(ctx)
    assert has_colour(picture, diverging_palette(3)[2])
    assert has_colour(picture, diverging_palette(3)[1])
    assert not has_colour(picture, class_colour(0))


def test_bands_are_not_shown_after_segments_were_filtered(analyse: Analyse) -> None:
    ctx = SizeStatisticsStep(of="segments").execute(analyse())
    assert not has_colour(render(ctx), segment_colour(0))
    assert has_colour(render(SegmentFilterStep(largest=1).execute(ctx)), segment_colour(0))


def test_classification_is_shown_as_legend_only(put_model: PutModel) -> None:
    put_model(models.classify(), "classify")
    ctx = ClassificationStep().execute(context([(0, 0, 512, 384)]))
    picture = render(ctx)
    assert (picture != ctx.image).any()
    assert (picture[: HW[0] // 2] == ctx.image[: HW[0] // 2]).all()


def test_tiles_are_drawn(analyse: Analyse) -> None:
    ctx = analyse()
    tiles = np.array(((0, 0, 300, 384), (212, 0, 512, 384)))
    assert (render(replace(ctx, tiles=tiles))[350, [212, 300]] != render(ctx)[350, [212, 300]]).all()


def test_same_context_gives_same_picture(analyse: Analyse) -> None:
    ctx = AggregateStep().execute(analyse([(40, 60, 70, 90), (300, 60, 330, 90, BLUE)]))
    np.testing.assert_array_equal(render(ctx), render(ctx))


def test_annotate_without_annotations_returns_a_copy() -> None:
    image = scene((30, 40), [(3, 3, 9, 9, RED)])
    picture = annotate(image, objects=Annotations.empty(), segments=Annotations.empty())
    np.testing.assert_array_equal(picture, image)
    assert not np.shares_memory(picture, image)
