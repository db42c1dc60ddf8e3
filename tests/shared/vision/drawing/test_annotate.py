"""The picture: the image untouched, boxes and masks where they are, readable at every size."""

import numpy as np
import pytest

from shared.vision.drawing.annotate import Annotations, annotate
from shared.vision.drawing.colours import class_colour, segment_colour
from shared.vision.drawing.legend import LegendRow
from shared.vision.images.pixels import rgb_view
from shared.vision.masks.masks import Mask

GREY = 90
NONE = Annotations.empty()
PLANTS = (LegendRow("plant", "20", class_colour(0)),)


def grey(shape_hw):
    return rgb_view(np.full((*shape_hw, 4), GREY, np.uint8))


def boxes(*boxes, class_id=0, name="plant"):
    return Annotations(
        boxes_xyxy=np.array(boxes, np.float32).reshape(-1, 4),
        colours=[class_colour(class_id)] * len(boxes),
        names=[(f"{name} 90%", name)] * len(boxes),
    )


def segments(*masks, name="bed"):
    outer = [(m.left, m.top, m.left + m.pixels.shape[1], m.top + m.pixels.shape[0]) for m in masks]
    return Annotations(
        boxes_xyxy=np.array(outer, np.float32).reshape(-1, 4),
        colours=[segment_colour(0)] * len(masks),
        names=[(f"{name} 54", "54")] * len(masks),
        masks=masks,
    )


def full(left, top, width, height):
    return Mask(left, top, np.ones((height, width), bool))


def has(picture, ink):
    return (picture == ink).all(axis=2)


@pytest.mark.parametrize("rows", [(), PLANTS])
@pytest.mark.parametrize("shape_hw", [(1, 1), (20, 3000), (3000, 20), (240, 320), (3000, 4000)])
def test_any_image_can_be_drawn_on_with_nothing_found(shape_hw, rows):
    image = grey(shape_hw)
    picture = annotate(image, objects=NONE, segments=segments(), tiles=np.empty((0, 4), np.int64), rows=rows)
    assert picture.shape == (*shape_hw, 3)
    assert (image == GREY).all()
    assert rows or (picture == GREY).all()


@pytest.mark.parametrize(
    "box", [(100, 100, 200, 180), (0, 0, 640, 480), (639, 479, 640, 480), (300, 300, 300, 300)]
)
def test_a_box_is_outlined_in_its_colour_and_the_image_stays(box):
    image = grey((480, 640))
    picture = annotate(image, objects=boxes(box, class_id=1), segments=NONE)
    x1, y1 = min(box[0], 639), min(box[1], 479)
    drawn = np.argwhere(has(picture, class_colour(1)))
    assert len(drawn)
    assert np.abs(drawn - (y1, x1)).sum(axis=1).min() <= 1
    assert (image == GREY).all()


def test_a_box_that_sticks_out_does_no_harm():
    annotate(grey((100, 100)), objects=boxes((-20, -20, 150, 150), (90, 90, 101, 101)), segments=NONE)


MASKS = {
    "empty": Mask(0, 0, np.zeros((0, 0), bool)),
    "of no pixel": Mask(10, 10, np.zeros((40, 50), bool)),
    "a pixel": full(320, 240, 1, 1),
    "all of the image": full(0, 0, 640, 480),
    "inside": full(100, 50, 300, 200),
    "sticking out": full(-30, -30, 900, 900),
    "elsewhere": full(700, 10, 30, 30),
}


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_a_mask_is_drawn_on_its_pixels_only(mask):
    image = grey((480, 640))
    picture = annotate(image, objects=NONE, segments=segments(mask, name="x" * 200))
    inside = np.zeros((480, 640), bool)
    kept = mask.cropped(0, 0, 640, 480)
    height, width = kept.pixels.shape
    inside[kept.top : kept.top + height, kept.left : kept.left + width] = kept.pixels
    outside = picture[~inside]
    tag = has(picture, segment_colour(0)) & ~inside
    assert tag.any() or (outside == GREY).all()
    assert ((picture != GREY).any(axis=2) | ~inside).all()
    assert (image == GREY).all()


def test_what_lies_in_a_segment_stays_visible_and_its_outline_is_in_its_colour():
    image = grey((480, 640))
    image[200:220, 300:320] = 200
    picture = annotate(image, objects=NONE, segments=segments(full(100, 50, 400, 380)))
    light, dark = picture[210, 310].astype(int), picture[210, 290].astype(int)
    assert np.abs(light - 200).max() <= 64
    assert (light - dark > 70).all()
    assert (picture[50, 100:500] == segment_colour(0)).all()
    assert (picture[50:430, 499] == segment_colour(0)).all()


def test_a_segment_is_lighter_where_there_are_objects_to_be_seen_in_it():
    segment = segments(full(100, 50, 400, 380))
    alone = annotate(grey((480, 640)), objects=NONE, segments=segment)
    below = annotate(grey((480, 640)), objects=boxes((300, 300, 330, 330)), segments=segment)
    change = [np.abs(picture[250, 200].astype(int) - GREY).max() for picture in (alone, below)]
    assert 0 < change[1] < change[0]


def test_boxes_lie_over_segments():
    picture = annotate(
        grey((480, 640)), objects=boxes((100, 100, 200, 200)), segments=segments(full(100, 100, 300, 300))
    )
    assert (picture[150:200, 100] == class_colour(0)).all()


def test_a_segment_s_tag_lies_in_it_and_hides_no_object():
    row = [(x, 105, x + 40, 200) for x in range(105, 480, 45)]
    picture = annotate(
        grey((480, 640)), objects=boxes(*row, name="x" * 50), segments=segments(full(100, 100, 400, 300))
    )
    plain = annotate(
        grey((480, 640)),
        objects=boxes(*row, name="x" * 50),
        segments=segments(full(100, 100, 400, 300), name="x" * 99),
    )
    y, x = np.nonzero((picture != plain).any(axis=2))
    assert len(y)
    assert (y.min() >= 200, y.max() < 400, x.min() >= 100, x.max() < 500) == (True,) * 4


def test_a_tag_does_not_bury_a_small_segment():
    mask = full(300, 200, 50, 26)
    picture = annotate(grey((480, 640)), objects=NONE, segments=segments(mask))
    assert has(picture, segment_colour(0))[170:200, 290:380].any(), "it lies above it"
    assert not has(picture, segment_colour(0))[210:216, 310:340].any()


def test_labels_never_cover_each_other_and_a_crowd_s_colours_are_there():
    crowd = boxes(*[(x, 200, x + 120, 260) for x in range(0, 400, 10)])
    picture = annotate(grey((600, 800)), objects=crowd, segments=NONE, rows=PLANTS)
    assert has(picture, class_colour(0))[250].any()


def test_a_tile_is_a_faint_line_and_shared_edges_are_one():
    tiles = np.array(((0, 0, 300, 480), (260, 0, 560, 480), (260, 0, 640, 480)))
    picture = annotate(grey((480, 640)), objects=NONE, segments=NONE, tiles=tiles)
    columns = np.flatnonzero((picture[100] != GREY).any(axis=1))
    assert columns.tolist() == [260, 300, 560]
    assert len(np.unique(picture[:, columns])) == 1
    assert np.abs(picture.astype(int) - GREY).max() <= 64


@pytest.mark.parametrize("tile", [(0, 0, 1, 1), (0, 0, 640, 480), (-50, -50, 700, 700)])
def test_the_border_of_the_image_is_no_edge_of_a_tile(tile):
    image = grey((480, 640) if tile[2] > 1 else (1, 1))
    assert (annotate(image, objects=NONE, segments=NONE, tiles=np.array((tile,))) == GREY).all()


def test_the_card_goes_where_it_hides_nothing():
    lower_left = [(x, y, x + 30, y + 30) for x in range(0, 200, 40) for y in range(300, 470, 40)]
    picture = annotate(grey((480, 640)), objects=boxes(*lower_left), segments=NONE, rows=PLANTS)
    corner = picture[10:60, 10:110]
    assert (corner < 60).any(), "the card is in the upper left"


def test_the_card_covers_as_little_of_segments_as_it_can():
    picture = annotate(
        grey((480, 640)),
        objects=NONE,
        segments=segments(full(0, 100, 640, 380), full(0, 0, 400, 100)),
        rows=PLANTS,
    )
    assert (picture[10:40, 500:630] < 60).any(), "the card is in the upper right"


def test_the_same_image_and_marks_give_the_same_picture():
    found = boxes((10, 10, 80, 60), (300, 200, 420, 330))
    mask = Mask(200, 100, np.random.default_rng(0).random((200, 300)) > 0.5)
    pictures = [annotate(grey((480, 640)), objects=found, segments=segments(mask), rows=PLANTS) for _ in range(2)]
    np.testing.assert_array_equal(*pictures)


def test_a_crowd_has_no_tags_and_keeps_its_colours():
    few, many = (
        annotate(grey((1000, 1000)), objects=boxes(*found), segments=NONE, rows=PLANTS)
        for found in ([(100, 500, 300, 560)], [(100, 500, 300, 560)] * 41)
    )
    tag = np.s_[470:498, 100:180]
    assert (few[tag] != GREY).any()
    assert (many[tag] == GREY).all()
    assert (many[500, 100:300] == class_colour(0)).all()
