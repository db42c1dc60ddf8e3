"""Annotations: boxes, masks, labels and tiles drawn where they belong, at every size of image."""

import numpy as np
import pytest

from shared.errors import DeadlineExceeded
from shared.runtime import deadline
from shared.vision.arrays import BoolArray, Pixels, SizeHW
from shared.vision.drawing.annotate import Annotations, annotate
from shared.vision.drawing.colours import Colour, class_colour, segment_colour
from shared.vision.drawing.legend import LegendRow
from shared.vision.images.pixels import rgb_view
from shared.vision.masks.masks import Mask

GREY = 90
NO_ANNOTATIONS = Annotations.empty()
LEGEND_ROWS = (LegendRow("plant", "20", class_colour(0)),)


def grey(shape_hw: SizeHW) -> Pixels:
    return rgb_view(np.full((*shape_hw, 4), GREY, np.uint8))


def boxes(*corners_xyxy: tuple[int, int, int, int], class_id: int = 0, name: str = "plant") -> Annotations:
    return Annotations(
        boxes_xyxy=np.array(corners_xyxy, np.float32).reshape(-1, 4),
        colours=[class_colour(class_id)] * len(corners_xyxy),
        names=[(f"{name} 90%", name)] * len(corners_xyxy),
    )


def segments(*masks: Mask, name: str = "bed") -> Annotations:
    bounds = [(m.left, m.top, m.left + m.pixels.shape[1], m.top + m.pixels.shape[0]) for m in masks]
    return Annotations(
        boxes_xyxy=np.array(bounds, np.float32).reshape(-1, 4),
        colours=[segment_colour(0)] * len(masks),
        names=[(f"{name} 54", "54")] * len(masks),
        masks=masks,
    )


def rectangle(left: int, top: int, width: int, height: int) -> Mask:
    return Mask(left, top, np.ones((height, width), bool))


def has_colour(picture: Pixels, colour: Colour) -> BoolArray:
    """Return (h, w) which pixels have the colour."""
    equal: BoolArray = (picture == colour).all(axis=2)
    return equal


@pytest.mark.parametrize("rows", [(), LEGEND_ROWS], ids=["no legend", "legend"])
@pytest.mark.parametrize("shape_hw", [(1, 1), (20, 3000), (3000, 20), (240, 320), (3000, 4000)], ids=str)
def test_image_of_any_size_without_annotations(shape_hw: SizeHW, rows: tuple[LegendRow, ...]) -> None:
    image = grey(shape_hw)
    picture = annotate(
        image, objects=NO_ANNOTATIONS, segments=segments(), tiles=np.empty((0, 4), np.int64), rows=rows
    )
    assert picture.shape == (*shape_hw, 3)
    assert (image == GREY).all()
    assert rows or (picture == GREY).all()


@pytest.mark.parametrize(
    "box",
    [(100, 100, 200, 180), (0, 0, 640, 480), (639, 479, 640, 480), (300, 300, 300, 300)],
    ids=["inside", "whole image", "last pixel", "no area"],
)
def test_box_is_outlined_in_its_colour_on_a_copy(box: tuple[int, int, int, int]) -> None:
    image = grey((480, 640))
    picture = annotate(image, objects=boxes(box, class_id=1), segments=NO_ANNOTATIONS)
    x1, y1 = min(box[0], 639), min(box[1], 479)
    coloured = np.argwhere(has_colour(picture, class_colour(1)))
    assert len(coloured)
    assert np.abs(coloured - (y1, x1)).sum(axis=1).min() <= 1
    assert (image == GREY).all()


def test_box_beyond_image_border_does_not_raise() -> None:
    annotate(grey((100, 100)), objects=boxes((-20, -20, 150, 150), (90, 90, 101, 101)), segments=NO_ANNOTATIONS)


MASKS: dict[str, Mask] = {
    "empty": Mask(0, 0, np.zeros((0, 0), bool)),
    "of no pixel": Mask(10, 10, np.zeros((40, 50), bool)),
    "a pixel": rectangle(320, 240, 1, 1),
    "all of the image": rectangle(0, 0, 640, 480),
    "inside": rectangle(100, 50, 300, 200),
    "sticking out": rectangle(-30, -30, 900, 900),
    "elsewhere": rectangle(700, 10, 30, 30),
}


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_mask_is_drawn_on_its_pixels_only(mask: Mask) -> None:
    image = grey((480, 640))
    picture = annotate(image, objects=NO_ANNOTATIONS, segments=segments(mask, name="x" * 200))
    inside = np.zeros((480, 640), bool)
    kept = mask.cropped(0, 0, 640, 480)
    height, width = kept.pixels.shape
    inside[kept.top : kept.top + height, kept.left : kept.left + width] = kept.pixels
    outside = picture[~inside]
    label = has_colour(picture, segment_colour(0)) & ~inside
    assert label.any() or (outside == GREY).all()
    assert ((picture != GREY).any(axis=2) | ~inside).all()
    assert (image == GREY).all()


def test_segment_is_transparent_with_outline_in_its_colour() -> None:
    image = grey((480, 640))
    image[200:220, 300:320] = 200
    picture = annotate(image, objects=NO_ANNOTATIONS, segments=segments(rectangle(100, 50, 400, 380)))
    light, dark = picture[210, 310].astype(int), picture[210, 290].astype(int)
    assert np.abs(light - 200).max() <= 64
    assert (light - dark > 70).all()
    assert (picture[50, 100:500] == segment_colour(0)).all()
    assert (picture[50:430, 499] == segment_colour(0)).all()


def test_segment_is_lighter_if_there_are_objects() -> None:
    segment = segments(rectangle(100, 50, 400, 380))
    alone = annotate(grey((480, 640)), objects=NO_ANNOTATIONS, segments=segment)
    below = annotate(grey((480, 640)), objects=boxes((300, 300, 330, 330)), segments=segment)
    change = [np.abs(picture[250, 200].astype(int) - GREY).max() for picture in (alone, below)]
    assert 0 < change[1] < change[0]


def test_boxes_are_drawn_over_segments() -> None:
    picture = annotate(
        grey((480, 640)), objects=boxes((100, 100, 200, 200)), segments=segments(rectangle(100, 100, 300, 300))
    )
    assert (picture[150:200, 100] == class_colour(0)).all()


def test_segment_label_lies_inside_it_and_hides_no_object() -> None:
    row = [(x, 105, x + 40, 200) for x in range(105, 480, 45)]
    picture = annotate(
        grey((480, 640)), objects=boxes(*row, name="x" * 50), segments=segments(rectangle(100, 100, 400, 300))
    )
    plain = annotate(
        grey((480, 640)),
        objects=boxes(*row, name="x" * 50),
        segments=segments(rectangle(100, 100, 400, 300), name="x" * 99),
    )
    y, x = np.nonzero((picture != plain).any(axis=2))
    assert len(y)
    assert (y.min() >= 200, y.max() < 400, x.min() >= 100, x.max() < 500) == (True,) * 4


def test_label_of_small_segment_lies_above_it() -> None:
    mask = rectangle(300, 200, 50, 26)
    picture = annotate(grey((480, 640)), objects=NO_ANNOTATIONS, segments=segments(mask))
    assert has_colour(picture, segment_colour(0))[170:200, 290:380].any(), "it lies above it"
    assert not has_colour(picture, segment_colour(0))[210:216, 310:340].any()


def test_box_colours_are_visible_among_many_boxes() -> None:
    overlapping = boxes(*[(x, 200, x + 120, 260) for x in range(0, 400, 10)])
    picture = annotate(grey((600, 800)), objects=overlapping, segments=NO_ANNOTATIONS, rows=LEGEND_ROWS)
    assert has_colour(picture, class_colour(0))[250].any()


def test_tile_edges_are_faint_lines_and_shared_edges_are_drawn_once() -> None:
    tiles = np.array(((0, 0, 300, 480), (260, 0, 560, 480), (260, 0, 640, 480)))
    picture = annotate(grey((480, 640)), objects=NO_ANNOTATIONS, segments=NO_ANNOTATIONS, tiles=tiles)
    columns = np.flatnonzero((picture[100] != GREY).any(axis=1))
    assert columns.tolist() == [260, 300, 560]
    assert len(np.unique(picture[:, columns])) == 1
    assert np.abs(picture.astype(int) - GREY).max() <= 64


@pytest.mark.parametrize("tile", [(0, 0, 1, 1), (0, 0, 640, 480), (-50, -50, 700, 700)], ids=str)
def test_tile_edges_on_image_border_are_not_drawn(tile: tuple[int, int, int, int]) -> None:
    image = grey((480, 640) if tile[2] > 1 else (1, 1))
    assert (
        annotate(image, objects=NO_ANNOTATIONS, segments=NO_ANNOTATIONS, tiles=np.array((tile,))) == GREY
    ).all()


def test_legend_is_drawn_where_it_hides_no_box() -> None:
    lower_left = [(x, y, x + 30, y + 30) for x in range(0, 200, 40) for y in range(300, 470, 40)]
    picture = annotate(grey((480, 640)), objects=boxes(*lower_left), segments=NO_ANNOTATIONS, rows=LEGEND_ROWS)
    corner = picture[10:60, 10:110]
    assert (corner < 60).any(), "the legend is in the upper left"


def test_legend_is_drawn_where_it_hides_least_of_segments() -> None:
    picture = annotate(
        grey((480, 640)),
        objects=NO_ANNOTATIONS,
        segments=segments(rectangle(0, 100, 640, 380), rectangle(0, 0, 400, 100)),
        rows=LEGEND_ROWS,
    )
    assert (picture[10:40, 500:630] < 60).any(), "the legend is in the upper right"


def test_same_image_and_annotations_give_same_picture() -> None:
    objects = boxes((10, 10, 80, 60), (300, 200, 420, 330))
    mask = Mask(200, 100, np.random.default_rng(0).random((200, 300)) > 0.5)
    first, second = (
        annotate(grey((480, 640)), objects=objects, segments=segments(mask), rows=LEGEND_ROWS) for _ in range(2)
    )

    np.testing.assert_array_equal(first, second)


def test_more_than_40_boxes_have_colours_and_no_labels() -> None:
    box = (100, 500, 300, 560)
    one, many = (
        annotate(grey((1000, 1000)), objects=boxes(*copies), segments=NO_ANNOTATIONS, rows=LEGEND_ROWS)
        for copies in ([box], [box] * 41)
    )
    label_area = np.s_[470:498, 100:180]
    assert (one[label_area] != GREY).any()
    assert (many[label_area] == GREY).all()
    assert (many[500, 100:300] == class_colour(0)).all()


@pytest.mark.parametrize(
    ("objects", "masks"), [(boxes((1, 1, 9, 9)), segments()), (NO_ANNOTATIONS, segments(rectangle(1, 1, 9, 9)))]
)
def test_drawing_asks_the_deadline(objects: Annotations, masks: Annotations) -> None:
    with deadline.fail_after(-1), pytest.raises(DeadlineExceeded):
        annotate(grey((30, 30)), objects=objects, segments=masks)
