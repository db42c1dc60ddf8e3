"""The picture: the image untouched, boxes where they are, readable at every size."""

import numpy as np
import pytest

from shared.vision.detections import Detections
from shared.vision.drawing import annotate, colour
from shared.vision.pixels import rgb_view

GREY = 90


def grey(shape_hw):
    return rgb_view(np.full((*shape_hw, 4), GREY, np.uint8))


def found(*boxes, class_id=0):
    count = len(boxes)
    array = np.array(boxes, np.float32).reshape(-1, 4)
    return Detections(array, np.full(count, 0.9, np.float32), np.full(count, class_id, np.int64))


@pytest.mark.parametrize("shape_hw", [(1, 1), (20, 3000), (3000, 20), (240, 320), (3000, 4000)])
def test_any_image_can_be_drawn_on_with_nothing_found(shape_hw):
    image = grey(shape_hw)
    picture = annotate(image, Detections.none(), labels=("plant",), counts={})
    assert picture.shape == (*shape_hw, 3)
    assert (image == GREY).all()


@pytest.mark.parametrize(
    "box", [(100, 100, 200, 180), (0, 0, 640, 480), (639, 479, 640, 480), (300, 300, 300, 300)]
)
def test_a_box_is_outlined_in_its_colour_and_the_image_stays(box):
    image = grey((480, 640))
    picture = annotate(image, found(box, class_id=1), labels=("bed", "plant"), counts={"plant": 1})
    x1, y1 = min(box[0], 639), min(box[1], 479)
    drawn = np.argwhere((picture == colour(1)).all(axis=2))
    assert len(drawn)
    assert np.abs(drawn - (y1, x1)).sum(axis=1).min() <= 1
    assert (image == GREY).all()


def test_a_box_that_sticks_out_does_no_harm():
    annotate(
        grey((100, 100)), found((-20, -20, 150, 150), (90, 90, 101, 101)), labels=("plant",), counts={"plant": 2}
    )


def test_labels_never_cover_each_other_and_every_label_is_counted():
    crowd = found(*[(x, 200, x + 120, 260) for x in range(0, 400, 10)])
    picture = annotate(grey((600, 800)), crowd, labels=("plant", "weed"), counts={"plant": 40})
    assert picture.shape == (600, 800, 3)


def test_the_card_goes_where_it_hides_nothing():
    lower_left = [(x, y, x + 30, y + 30) for x in range(0, 200, 40) for y in range(300, 470, 40)]
    picture = annotate(grey((480, 640)), found(*lower_left), labels=("plant",), counts={"plant": 20})
    corner = picture[10:60, 10:110]
    assert (corner < 60).any(), "the card is in the upper left"


def test_the_same_image_and_boxes_give_the_same_picture():
    boxes = found((10, 10, 80, 60), (300, 200, 420, 330))
    pictures = [annotate(grey((480, 640)), boxes, labels=("plant",), counts={"plant": 2}) for _ in range(2)]
    np.testing.assert_array_equal(*pictures)


def test_more_labels_than_fit_are_cut_not_spilled():
    labels = tuple(f"label {index}" for index in range(80))
    assert annotate(grey((100, 300)), Detections.none(), labels=labels, counts={}).shape == (100, 300, 3)


def test_a_crowd_has_no_tags_and_keeps_its_colours():
    few, many = (
        annotate(grey((1000, 1000)), found(*boxes), labels=("plant",), counts={"plant": len(boxes)})
        for boxes in ([(100, 500, 300, 560)], [(100, 500, 300, 560)] * 41)
    )
    tag = np.s_[470:498, 100:180]
    assert (few[tag] != GREY).any()
    assert (many[tag] == GREY).all()
    assert (many[500, 100:300] == colour(0)).all()
