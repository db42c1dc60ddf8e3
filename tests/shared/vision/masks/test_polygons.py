"""Polygons: filled again they are the mask, holes and parts nest, and simplified ones change little."""

from itertools import chain, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import array_shapes, arrays

from shared.vision.arrays import BoolArray, SizeHW
from shared.vision.images.letterbox import letterbox
from shared.vision.masks.contours import MultiPolygon
from shared.vision.masks.masks import Mask
from shared.vision.masks.polygons import coordinates, image_polygons, polygons
from testing.outlines import exact_polygons, polygon_area, ring_area

PIXELS = arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=9))


def mask_of(text: str, left: int = 0, top: int = 0) -> Mask:
    """Make a mask from rows of `#` and `.`, separated by spaces."""
    return Mask(left, top, np.array([[c == "#" for c in line] for line in text.split()], bool))


def outlines(masks: list[Mask], max_area_change: float | None) -> list[MultiPolygon]:
    """Outline masks exactly (None) or simplified."""
    return exact_polygons(masks) if max_area_change is None else polygons(masks, max_area_change=max_area_change)


def even_odd_fill(parts: MultiPolygon, shape_hw: tuple[int, ...]) -> BoolArray:
    """Fill at the centres of pixels, one edge at a time."""
    filled = np.zeros(shape_hw, bool)
    columns, rows = np.arange(shape_hw[1]) + 0.5, np.arange(shape_hw[0]) + 0.5
    for ring in (ring for part in parts for ring in part):
        for (x1, y1), (x2, y2) in pairwise(ring):
            for row in np.flatnonzero((rows >= y1) != (rows >= y2)):
                filled[row] ^= columns > x1 + (rows[row] - y1) * (x2 - x1) / (y2 - y1)
    return filled


def count_vertices(parts: MultiPolygon) -> int:
    return sum(map(len, chain(*parts)))


def count_connected(pixels: BoolArray) -> int:
    """Count the parts of pixels that share an edge, by flood fill."""
    unvisited, count = set(map(tuple, np.argwhere(pixels).tolist())), 0
    while unvisited:
        front, count = [unvisited.pop()], count + 1
        while front:
            y, x = front.pop()
            neighbours = {(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)} & unvisited
            unvisited -= neighbours
            front += neighbours
    return count


def smooth_mask(size: int, seed: int) -> Mask:
    """Make a smooth shape with a hole, as masks of models are."""
    rng = np.random.default_rng(seed)
    y, x = (np.mgrid[:size, :size] + 0.5) / size * 2 - 1
    angle, radius = np.arctan2(y, x), np.hypot(y, x)
    edge = 0.7 + sum(rng.uniform(-0.08, 0.08) * np.cos(k * angle + rng.uniform(0, 6)) for k in range(2, 6))
    return Mask(3, 5, (radius < edge) & (radius > 0.2))


@pytest.mark.parametrize("max_area_change", [None, 0, 0.02])
def test_no_masks_and_empty_masks_have_no_parts(max_area_change: float | None) -> None:
    assert outlines([], max_area_change) == []
    assert outlines([Mask(2, 3, np.zeros((0, 0), bool))], max_area_change) == [[]]
    assert outlines([Mask(2, 3, np.zeros((4, 5), bool)), mask_of(".")], max_area_change) == [[], []]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("#", [[[[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]]], id="one pixel"),
        pytest.param("### ###", [[[[0, 0], [3, 0], [3, 2], [0, 2], [0, 0]]]], id="rectangle"),
        pytest.param(
            "#.#",
            [[[[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]], [[[2, 0], [3, 0], [3, 1], [2, 1], [2, 0]]]],
            id="two parts",
        ),
        pytest.param(
            "### #.# ###",
            [[[[0, 0], [3, 0], [3, 3], [0, 3], [0, 0]], [[2, 1], [1, 1], [1, 2], [2, 2], [2, 1]]]],
            id="hole",
        ),
        pytest.param(
            "#. .#",
            [[[[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]], [[[1, 1], [2, 1], [2, 2], [1, 2], [1, 1]]]],
            id="touching at a corner: two parts",
        ),
        pytest.param(
            ".# #.",
            [[[[1, 0], [2, 0], [2, 1], [1, 1], [1, 0]]], [[[0, 1], [1, 1], [1, 2], [0, 2], [0, 1]]]],
            id="touching at the other corner: two parts",
        ),
        pytest.param(
            "### #.# ##.",
            [
                [
                    [[0, 0], [3, 0], [3, 2], [2, 2], [2, 3], [0, 3], [0, 0]],
                    [[2, 1], [1, 1], [1, 2], [2, 2], [2, 1]],
                ]
            ],
            id="hole touching its outer ring: two rings",
        ),
    ],
)
def test_exact_rings_run_along_pixel_edges(text: str, expected: list[list[list[list[float]]]]) -> None:
    (parts,) = exact_polygons([mask_of(text)])

    assert coordinates(parts) == expected


def test_part_inside_hole_is_separate_part() -> None:
    text = "#######.. #.....#.. #.###.#.. #.#.#.#.# #.###.#.. #.....#.. #######.."
    (parts,) = exact_polygons([mask_of(text)])
    assert [[abs(ring_area(ring)) for ring in part] for part in parts] == [[49, 25], [9, 1], [1]]


def test_polygons_are_in_frame_of_mask() -> None:
    (one,) = exact_polygons([mask_of("#", left=10, top=20)])
    assert coordinates(one) == [[[[10, 20], [11, 20], [11, 21], [10, 21], [10, 20]]]]


def test_masks_outlined_together_equal_masks_outlined_alone() -> None:
    masks = [smooth_mask(40, 1), mask_of("#. .#"), mask_of("."), smooth_mask(30, 2), mask_of("### #.# ###", 7, 9)]
    for max_area_change in (None, 0, 0.02):
        together = [coordinates(parts) for parts in outlines(masks, max_area_change)]
        assert together == [coordinates(outlines([mask], max_area_change)[0]) for mask in masks]


@given(PIXELS)
def test_exact_rings_filled_again_are_the_mask(pixels: BoolArray) -> None:
    (parts,) = exact_polygons([Mask(0, 0, pixels)])
    np.testing.assert_array_equal(even_odd_fill(parts, pixels.shape), pixels)
    assert polygon_area(parts) == pixels.sum()
    assert len(parts) == count_connected(pixels)
    for ring in (ring for part in parts for ring in part):
        assert (ring[0] == ring[-1]).all()
        assert len(np.unique(ring[:-1], axis=0)) == len(ring) - 1  # it does not touch itself


@given(PIXELS)
def test_holes_lie_inside_outer_ring_and_run_clockwise(pixels: BoolArray) -> None:
    (parts,) = exact_polygons([Mask(0, 0, pixels)])
    for outer, *holes in parts:
        assert ring_area(outer) > 0
        inside = even_odd_fill([[outer]], pixels.shape)
        for hole in holes:
            assert ring_area(hole) < 0
            assert inside[even_odd_fill([[hole]], pixels.shape)].all()
        assert count_connected(even_odd_fill([[outer, *holes]], pixels.shape)) == 1


@given(PIXELS)
def test_cut_corners_move_no_pixel_centre(pixels: BoolArray) -> None:
    (parts,) = polygons([Mask(0, 0, pixels)], max_area_change=0)
    np.testing.assert_array_equal(even_odd_fill(parts, pixels.shape), pixels)
    exact = exact_polygons([Mask(0, 0, pixels)])[0]
    assert [len(part) for part in parts] == [len(part) for part in exact]


@pytest.mark.parametrize(("size", "reduction"), [(24, 1.05), (100, 2), (400, 5), (1500, 8)])
def test_simplified_polygons_have_fewer_vertices_and_almost_same_area(size: int, reduction: float) -> None:
    masks = [smooth_mask(size, seed) for seed in range(3 if size > 1000 else 8)]
    exact, outlined = exact_polygons(masks), polygons(masks)
    for mask, before, after in zip(masks, exact, outlined, strict=True):
        assert reduction * count_vertices(after) < count_vertices(before)
        here = [[ring - (mask.left, mask.top) for ring in part] for part in after]
        refilled = even_odd_fill(here, mask.pixels.shape)
        assert (refilled & mask.pixels).sum() >= 0.995 * (refilled | mask.pixels).sum()
        assert polygon_area(after) == pytest.approx(mask.area, rel=0.01)


def test_polygons_do_not_depend_on_band_size(monkeypatch: pytest.MonkeyPatch) -> None:
    masks = [smooth_mask(60, 3), mask_of("#"), smooth_mask(33, 4)]
    whole = [coordinates(parts) for parts in polygons(masks)]
    monkeypatch.setattr("shared.vision.masks.contours._BAND_PIXELS", 100)
    assert [coordinates(parts) for parts in polygons(masks)] == whole


@pytest.mark.parametrize(
    ("image_hw", "mask", "expected"),
    [
        pytest.param((320, 640), mask_of("#", 10, 200), [10, 40, 11, 41], id="160 px of padding above"),
        pytest.param(
            (1280, 640), mask_of("#", 200, 10), [80, 20, 82, 22], id="160 px of padding on the left, half the size"
        ),
        pytest.param((320, 640), mask_of("# # #", 0, 159), [0, 0, 1, 2], id="partly in the padding"),
        pytest.param((31, 33), mask_of("#", 0, 19), [0, 0, 33 / 640, 31 / 601], id="enlarged image"),
    ],
)
def test_image_polygons_are_in_image_px(image_hw: SizeHW, mask: Mask, expected: list[float]) -> None:
    (parts,) = image_polygons([mask], letterbox(image_hw, (640, 640)))

    ring = parts[0][0]
    np.testing.assert_allclose([*ring.min(axis=0), *ring.max(axis=0)], expected)


def test_image_polygons_leave_out_padding() -> None:
    assert image_polygons([mask_of("#", 0, 0)], letterbox((320, 640), (640, 640))) == [[]]
