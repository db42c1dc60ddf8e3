"""Pictures of contexts from real steps and small models: what is shown, in which colours and counts."""

from dataclasses import replace

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
from shared.vision.drawing.annotate import Annotations, annotate
from shared.vision.drawing.colours import class_colour, diverging_palette, segment_colour
from testing import models
from testing.scenes import BLUE, RED, scene

HW = (384, 512)
SIDES = (12, 12, 12, 12, 12, 30)


def context(rectangles=()):
    return ProcessingContext(tenant_id="tenant-001", image=scene(HW, rectangles))


def bed(x1, y1, x2, y2):
    pixels = np.zeros(HW, bool)
    pixels[y1:y2, x1:x2] = True
    return pixels


BEDS = ((0, 0.9, bed(10, 10, 200, 180)), (1, 0.8, bed(260, 10, 450, 180)))


@pytest.fixture
def found(put_model):
    """Gives a function: segments and rectangles -> the context in which both were looked for."""

    def look(rectangles=(), beds=BEDS, resolution="image"):
        put_model(models.segment(beds), "segment")
        put_model(models.blob_detector(canvas_hw=HW))
        # The segmenter answers only where there is light.
        ctx = context([*rectangles, (500, 376, 508, 384)])
        if beds:
            ctx = SegmentationStep(options=SegmentOptions(resolution=resolution)).execute(ctx)
        return DetectionStep().execute(ctx)

    return look


def has(picture, ink):
    return bool((picture == ink).all(axis=2).any())


def test_of_nothing_looked_for_the_picture_is_the_image():
    ctx = context()
    assert render(ctx) is ctx.image


def test_of_nothing_found_there_is_a_card_and_no_other_mark(put_model):
    put_model(models.blob_detector(canvas_hw=HW))
    ctx = DetectionStep().execute(context())
    picture = render(ctx)
    assert (ctx.image == 0).all()
    changed = np.argwhere(picture.any(axis=2))
    assert len(changed)
    assert (changed.min(axis=0) > (HW[0] // 2, 0)).all(), "in the lower left"


@pytest.mark.parametrize("resolution", ["canvas", "image"])
def test_segments_and_detections_have_colours_of_their_own(resolution, found):
    ctx = found([(40, 60, 70, 90), (300, 60, 330, 90, BLUE)], resolution=resolution)
    assert (len(ctx.segments), len(ctx.detections)) == (2, 3)
    picture = render(ctx)
    assert [
        has(picture, each) for each in (segment_colour(0), segment_colour(1), class_colour(0), class_colour(1))
    ] == [True] * 4
    assert (ctx.image[200:] == context([(500, 376, 508, 384)]).image[200:]).all()


def test_a_segment_says_how_many_are_in_it(found):
    ctx = AggregateStep().execute(found([(40, 60, 70, 90), (100, 60, 130, 90)]))
    assert ctx.segment_index.tolist().count(0) == 2
    without = render(replace(ctx, segment_index=None))
    fewer = render(replace(ctx, segment_index=np.where(ctx.segment_index == 0, -1, ctx.segment_index)))
    assert (render(ctx) != without).any()
    assert (render(ctx) != fewer).any()


def test_size_bands_take_the_place_of_labels(found):
    rectangles = [(20 + 70 * i, 200, 20 + 70 * i + side, 200 + side) for i, side in enumerate(SIDES)]
    ctx = SizeStatisticsStep().execute(found(rectangles, beds=()))
    assert ctx.bands.names == ("small", "medium", "large")
    assert np.bincount(ctx.bands.band_index, minlength=3).tolist() == list(ctx.sizes[0].bands.values())
    largest = ctx.detections.boxes_xyxy[:, 2:].sum(axis=1) - ctx.detections.boxes_xyxy[:, :2].sum(axis=1)
    assert ctx.bands.band_index[largest.argmax()] == 2
    picture = render(ctx)
    assert has(picture, diverging_palette(3)[2])
    assert has(picture, diverging_palette(3)[1])
    assert not has(picture, class_colour(0))


def test_bands_of_segments_that_were_filtered_since_are_not_shown(found):
    ctx = SizeStatisticsStep(of="segments").execute(found())
    assert not has(render(ctx), segment_colour(0))
    assert has(render(SegmentFilterStep(largest=1).execute(ctx)), segment_colour(0))


def test_classes_are_a_card(put_model):
    put_model(models.classify(), "classify")
    ctx = ClassificationStep().execute(context([(0, 0, 512, 384)]))
    picture = render(ctx)
    assert (picture != ctx.image).any()
    assert (picture[: HW[0] // 2] == ctx.image[: HW[0] // 2]).all()


def test_tiles_are_seen(found):
    ctx = found()
    tiles = np.array(((0, 0, 300, 384), (212, 0, 512, 384)))
    assert (render(replace(ctx, tiles=tiles))[350, [212, 300]] != render(ctx)[350, [212, 300]]).all()


def test_the_same_context_gives_the_same_picture(found):
    ctx = AggregateStep().execute(found([(40, 60, 70, 90), (300, 60, 330, 90, BLUE)]))
    np.testing.assert_array_equal(render(ctx), render(ctx))


def test_nothing_to_mark_and_no_rows_is_a_copy():
    image = scene((30, 40), [(3, 3, 9, 9, RED)])
    picture = annotate(image, objects=Annotations.empty(), segments=Annotations.empty())
    np.testing.assert_array_equal(picture, image)
    assert not np.shares_memory(picture, image)
