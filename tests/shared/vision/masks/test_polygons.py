"""Polygons: rasterised again they are the mask; areas, holes, corners that touch; simpler ones change little."""

from itertools import chain, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import array_shapes, arrays

from shared.vision.images.letterbox import letterbox
from shared.vision.masks.masks import Mask
from shared.vision.masks.polygons import coordinates, image_polygons, polygons

PIXELS = arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=9))


def drawn(text, left=0, top=0):
    return Mask(left, top, np.array([[c == "#" for c in line] for line in text.split()], bool))


def area(ring):
    (x1, y1), (x2, y2) = ring[:-1].T, ring[1:].T
    return (x1 * y2 - x2 * y1).sum() / 2


def rasterised(parts, shape_hw):
    """Even-odd, at the centres of pixels."""
    out = np.zeros(shape_hw, bool)
    columns, rows = np.arange(shape_hw[1]) + 0.5, np.arange(shape_hw[0]) + 0.5
    for ring in (ring for part in parts for ring in part):
        for (x1, y1), (x2, y2) in pairwise(ring):
            for row in np.flatnonzero((rows >= y1) != (rows >= y2)):
                out[row] ^= columns > x1 + (rows[row] - y1) * (x2 - x1) / (y2 - y1)
    return out


def vertices(parts):
    return sum(map(len, chain(*parts)))


def connected(pixels):
    """How many parts, of pixels that share an edge."""
    left, count = set(map(tuple, np.argwhere(pixels))), 0
    while left:
        front, count = [left.pop()], count + 1
        while front:
            y, x = front.pop()
            near = {(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)} & left
            left -= near
            front += near
    return count


def blob(size, seed):
    """A smooth shape with a hole, as masks are."""
    rng = np.random.default_rng(seed)
    y, x = (np.mgrid[:size, :size] + 0.5) / size * 2 - 1
    angle, radius = np.arctan2(y, x), np.hypot(y, x)
    edge = 0.7 + sum(rng.uniform(-0.08, 0.08) * np.cos(k * angle + rng.uniform(0, 6)) for k in range(2, 6))
    return Mask(3, 5, (radius < edge) & (radius > 0.2))


@pytest.mark.parametrize("max_area_change", [None, 0, 0.02])
def test_no_masks_and_empty_masks_have_no_parts(max_area_change):
    assert polygons([], max_area_change=max_area_change) == []
    assert polygons([Mask(2, 3, np.zeros((0, 0), bool))], max_area_change=max_area_change) == [[]]
    assert polygons([Mask(2, 3, np.zeros((4, 5), bool)), drawn(".")], max_area_change=max_area_change) == [[], []]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("#", [[[[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]]]),
        ("### ###", [[[[0, 0], [3, 0], [3, 2], [0, 2], [0, 0]]]]),
        ("#.#", [[[[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]], [[[2, 0], [3, 0], [3, 1], [2, 1], [2, 0]]]]),
        (
            "### #.# ###",
            [[[[0, 0], [3, 0], [3, 3], [0, 3], [0, 0]], [[2, 1], [1, 1], [1, 2], [2, 2], [2, 1]]]],
        ),
        # Corners that touch: two parts of pixels, two rings where one ring would touch itself.
        ("#. .#", [[[[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]], [[[1, 1], [2, 1], [2, 2], [1, 2], [1, 1]]]]),
        (".# #.", [[[[1, 0], [2, 0], [2, 1], [1, 1], [1, 0]]], [[[0, 1], [1, 1], [1, 2], [0, 2], [0, 1]]]]),
        (
            "### #.# ##.",
            [
                [
                    [[0, 0], [3, 0], [3, 2], [2, 2], [2, 3], [0, 3], [0, 0]],
                    [[2, 1], [1, 1], [1, 2], [2, 2], [2, 1]],
                ]
            ],
        ),
    ],
)
def test_rings_along_the_edges_of_pixels(text, expected):
    (parts,) = polygons([drawn(text)], max_area_change=None)
    assert coordinates(parts) == expected


def test_a_part_within_a_hole_is_a_part_of_its_own():
    text = "#######.. #.....#.. #.###.#.. #.#.#.#.# #.###.#.. #.....#.. #######.."
    (parts,) = polygons([drawn(text)], max_area_change=None)
    assert [[abs(area(ring)) for ring in part] for part in parts] == [[49, 25], [9, 1], [1]]


def test_a_mask_lies_where_it_is():
    (one,) = polygons([drawn("#", left=10, top=20)], max_area_change=None)
    assert coordinates(one) == [[[[10, 20], [11, 20], [11, 21], [10, 21], [10, 20]]]]


def test_many_masks_are_outlined_as_each_alone():
    masks = [blob(40, 1), drawn("#. .#"), drawn("."), blob(30, 2), drawn("### #.# ###", 7, 9)]
    for max_area_change in (None, 0, 0.02):
        together = [coordinates(parts) for parts in polygons(masks, max_area_change=max_area_change)]
        assert together == [coordinates(polygons([mask], max_area_change=max_area_change)[0]) for mask in masks]


@given(PIXELS)
def test_exact_rings_are_the_mask(pixels):
    (parts,) = polygons([Mask(0, 0, pixels)], max_area_change=None)
    np.testing.assert_array_equal(rasterised(parts, pixels.shape), pixels)
    assert sum(area(ring) for part in parts for ring in part) == pixels.sum()
    assert len(parts) == connected(pixels)
    for ring in (ring for part in parts for ring in part):
        assert (ring[0] == ring[-1]).all()
        assert len(np.unique(ring[:-1], axis=0)) == len(ring) - 1  # it does not touch itself


@given(PIXELS)
def test_a_hole_is_in_its_part_and_runs_the_other_way(pixels):
    (parts,) = polygons([Mask(0, 0, pixels)], max_area_change=None)
    for outer, *holes in parts:
        assert area(outer) > 0
        inside = rasterised([[outer]], pixels.shape)
        for hole in holes:
            assert area(hole) < 0
            assert inside[rasterised([[hole]], pixels.shape)].all()
        assert connected(rasterised([[outer, *holes]], pixels.shape)) == 1


@given(PIXELS)
def test_cut_corners_move_no_centre_of_a_pixel(pixels):
    (parts,) = polygons([Mask(0, 0, pixels)], max_area_change=0)
    np.testing.assert_array_equal(rasterised(parts, pixels.shape), pixels)
    exact = polygons([Mask(0, 0, pixels)], max_area_change=None)[0]
    assert [len(part) for part in parts] == [len(part) for part in exact]


@pytest.mark.parametrize(("size", "fewer"), [(24, 1.05), (100, 2), (400, 5), (1500, 8)])
def test_vertices_are_left_out_and_the_mask_stays(size, fewer):
    masks = [blob(size, seed) for seed in range(3 if size > 1000 else 8)]
    exact, outlined = polygons(masks, max_area_change=None), polygons(masks)
    for mask, before, after in zip(masks, exact, outlined, strict=True):
        assert fewer * vertices(after) < vertices(before)
        here = [[ring - (mask.left, mask.top) for ring in part] for part in after]
        again = rasterised(here, mask.pixels.shape)
        assert (again & mask.pixels).sum() >= 0.995 * (again | mask.pixels).sum()
        assert sum(area(ring) for part in after for ring in part) == pytest.approx(mask.area, rel=0.01)


def test_outlines_do_not_depend_on_the_bands_they_are_found_in(monkeypatch):
    masks = [blob(60, 3), drawn("#"), blob(33, 4)]
    whole = [coordinates(parts) for parts in polygons(masks)]
    monkeypatch.setattr("shared.vision.masks.polygons._BAND", 100)
    assert [coordinates(parts) for parts in polygons(masks)] == whole


@pytest.mark.parametrize(
    ("image_hw", "mask", "expected"),
    [
        ((320, 640), drawn("#", 10, 200), [10, 40, 11, 41]),  # padding above: 160
        ((1280, 640), drawn("#", 200, 10), [80, 20, 82, 22]),  # padding on the left: 160, and half the size
        ((320, 640), drawn("# # #", 0, 159), [0, 0, 1, 2]),  # partly in the padding
        ((31, 33), drawn("#", 0, 19), [0, 0, 33 / 640, 31 / 601]),
    ],
)
def test_outlines_on_a_canvas_come_back_to_the_image(image_hw, mask, expected):
    (parts,) = image_polygons([mask], letterbox(image_hw, (640, 640)), max_area_change=None)
    ring = parts[0][0]
    np.testing.assert_allclose([*ring.min(axis=0), *ring.max(axis=0)], expected)


def test_what_lies_in_the_padding_has_no_outline():
    assert image_polygons([drawn("#", 0, 0)], letterbox((320, 640), (640, 640))) == [[]]
