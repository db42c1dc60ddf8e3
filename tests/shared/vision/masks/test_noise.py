"""Masks that are noise: rejected early, in bounded time and memory; each bound at its limit and beyond."""

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest

from shared.errors import DeadlineExceeded, ImageTooLarge, InvalidModel
from shared.runtime import deadline
from shared.vision.arrays import BoolArray
from shared.vision.masks.contours import trace_contours
from shared.vision.masks.masks import Mask
from shared.vision.masks.overlap import group_overlapping, unions
from shared.vision.masks.polygon_fill import fill_polygons
from shared.vision.masks.polygons import coordinates, polygons
from shared.vision.masks.prototypes import canvas_masks
from shared.vision.masks.rle import encode_all, encode_rle

SEGMENT_NOISE = """
import resource, sys
import numpy as np
from shared.errors import InvalidModel
from shared.vision.masks.polygons import polygons
from shared.vision.masks.prototypes import canvas_masks

resource.setrlimit(resource.RLIMIT_DATA, (2 << 30, 2 << 30))
count, rng = int(sys.argv[1]), np.random.default_rng(0)
coefficients = rng.standard_normal((count, 32)).astype(np.float32)
prototypes = rng.standard_normal((32, 160, 160)).astype(np.float32)
boxes = np.array([[0, 0, 640, 640]] * count, np.float32)
try:
    outlines = polygons(canvas_masks(coefficients, prototypes, boxes, (640, 640)))
except InvalidModel as error:
    print(error)
else:
    print(len(outlines), "outlines")
"""


@pytest.mark.parametrize(
    ("segments", "message"),
    [
        (300, "The masks of 300 segments change between inside and outside more than 8388608 times"),
        (150, "segments have more than 2097152 edges: check that the model is trained"),
        (60, "vertices (limit 2097152) in"),
        (20, "20 outlines"),
    ],
)
def test_noise_of_a_segmenter_is_rejected_in_bounded_memory(segments: int, message: str) -> None:
    process = subprocess.run(
        [sys.executable, "-c", SEGMENT_NOISE, str(segments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )

    assert message in process.stdout


def checkerboard(side: int) -> BoolArray:
    """Return (side, side) pixels of which no two that are of the mask have a common edge."""
    board: BoolArray = np.indices((side, side)).sum(axis=0) % 2 == 0
    return board


BOARD = Mask(0, 0, checkerboard(9))  # 41 pixels: each is a part with four sides, of which two are horizontal
BOX = np.array([[0.0, 0], [9, 0], [9, 9], [0, 9], [0, 0]])

Limit = tuple[str, int, Callable[[], object], type[Exception]]
LIMITS: dict[str, Limit] = {
    "edges": ("contours.MAX_EDGES", 82, lambda: trace_contours([BOARD]), InvalidModel),
    "parts of a segment": ("contours.MAX_RINGS_PER_SEGMENT", 41, lambda: trace_contours([BOARD]), InvalidModel),
    "parts of all segments": ("polygons.MAX_RINGS", 82, lambda: polygons([BOARD] * 2), InvalidModel),
    "vertices": ("polygons.MAX_VERTICES", 41 * 5 * 2, lambda: polygons([BOARD] * 2), InvalidModel),
    "crossings": ("polygon_fill.MAX_CROSSINGS", 36, lambda: fill_polygons([[[BOX]]] * 2, (20, 20)), InvalidModel),
    "runs": (
        "rle.MAX_RUNS",
        2 * len(encode_rle(BOARD, (9, 9))),
        lambda: encode_all([BOARD] * 2, (9, 9)),
        InvalidModel,
    ),
    "overlapping segments": (
        "overlap.MAX_OVERLAPPING_SEGMENTS",
        6,
        lambda: group_overlapping([BOARD] * 4, np.zeros(4, np.int64), 0.5),
        ImageTooLarge,
    ),
    "unions": (
        "masks.MAX_MASK_PIXELS",
        9 * 19 + 81,
        lambda: unions([BOARD, BOARD.shifted(0, 10), BOARD], [np.array([0, 1]), np.array([2])]),
        ImageTooLarge,
    ),
}


@pytest.mark.parametrize(("name", "limit", "compute", "error"), LIMITS.values(), ids=LIMITS)
def test_limit_can_be_reached_and_one_more_is_rejected(
    name: str, limit: int, compute: Callable[[], object], error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"shared.vision.masks.{name}", limit)
    compute()

    monkeypatch.setattr(f"shared.vision.masks.{name}", limit - 1)
    with pytest.raises(error, match=str(limit - 1)):
        compute()


def test_sign_changes_can_be_as_many_as_the_limit_and_one_more_is_rejected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prototypes = np.where(np.indices((5, 4)).sum(axis=0) % 2, 1, -1)[None].astype(np.float32)
    boxes, coefficients = np.array([[0, 0, 4, 5]] * 3, np.float32), np.ones((3, 1), np.float32)

    monkeypatch.setattr("shared.vision.masks.prototypes.MAX_SIGN_CHANGES", 3 * 4 * 4)
    masks = canvas_masks(coefficients, prototypes, boxes, (5, 4))
    assert [mask.area for mask in masks] == [10, 10, 10]

    monkeypatch.setattr("shared.vision.masks.prototypes.MAX_SIGN_CHANGES", 3 * 4 * 4 - 1)
    with pytest.raises(InvalidModel, match="The masks of 3 segments change"):
        canvas_masks(coefficients, prototypes, boxes, (5, 4))


@pytest.mark.parametrize(
    "compute",
    [
        pytest.param(
            lambda: canvas_masks(
                np.ones((1, 1), np.float32),
                np.ones((1, 4, 4), np.float32),
                np.array([[0, 0, 4, 4]], np.float32),
                (4, 4),
            ),
            id="canvas_masks",
        ),
        pytest.param(lambda: polygons([BOARD]), id="polygons"),
        pytest.param(lambda: coordinates([[BOX]]), id="coordinates"),
        pytest.param(lambda: fill_polygons([[[BOX]]], (20, 20)), id="fill_polygons"),
        pytest.param(lambda: encode_all([BOARD], (9, 9)), id="encode_all"),
        pytest.param(lambda: unions([BOARD], [np.array([0])]), id="unions"),
        pytest.param(lambda: group_overlapping([BOARD] * 2, np.zeros(2, np.int64), 0.5), id="group_overlapping"),
    ],
)
def test_work_on_masks_asks_the_deadline(compute: Callable[[], object]) -> None:
    with deadline.fail_after(-1), pytest.raises(DeadlineExceeded):
        compute()


def test_holes_of_a_segment_of_several_parts_are_found_with_one_column_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The outer ring of a hole was searched among all edges of all masks, once for each hole."""
    columns: list[int] = []

    def count_pixels(column: BoolArray) -> int:
        columns.append(len(column))
        return len(column) if column.all() else int(column[::-1].argmin())

    monkeypatch.setattr("shared.vision.masks.contours._pixels_above", count_pixels)
    pixels = np.ones((9, 19), bool)  # two parts of 16 holes each
    pixels[:, 9] = pixels[1::2, 1:9:2] = pixels[1::2, 11::2] = False
    two_parts = Mask(0, 0, pixels)

    contours = trace_contours([two_parts] * 50)

    holes = np.count_nonzero(contours.outers != np.arange(len(contours.outers)))
    assert holes == len(columns) == 50 * 2 * 16
    assert max(columns) <= 9


@pytest.mark.parametrize("max_steps", [0, 10, 1 << 20])
@pytest.mark.parametrize("batch_pixels", [0, 200, 1 << 26])
def test_outlines_do_not_depend_on_how_many_are_traced_together(
    max_steps: int, batch_pixels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(3)
    masks = [Mask(index, 3, rng.random((12, 17)) < 0.6) for index in range(6)] + [
        Mask(0, 0, np.empty((0, 4), bool))
    ]
    expected = [coordinates(parts) for parts in polygons(masks)]

    monkeypatch.setattr("shared.vision.masks.contours._MAX_STEPS", max_steps)
    monkeypatch.setattr("shared.vision.masks.polygons._BATCH_PIXELS", batch_pixels)

    assert [coordinates(parts) for parts in polygons(masks)] == expected


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_filled_outlines_do_not_depend_on_the_size_of_chunks(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    outlines = polygons([Mask(index, 3, rng.random((12, 17)) < 0.6) for index in range(6)])
    expected = [mask.pixels for mask in fill_polygons(outlines, (30, 30))]

    monkeypatch.setattr("shared.vision.masks.polygon_fill._CHUNK_CROSSINGS", chunk)

    for mask, pixels in zip(fill_polygons(outlines, (30, 30)), expected, strict=True):
        np.testing.assert_array_equal(mask.pixels, pixels)


@pytest.mark.parametrize("min_dense_pairs", [0, 1 << 18])
def test_groups_equal_those_of_all_pairs(min_dense_pairs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.vision.boxes.pairs._MIN_DENSE_PAIRS", min_dense_pairs)
    rng = np.random.default_rng(5)
    masks = [
        Mask(left, top, np.ones((int(rng.integers(0, 9)), int(rng.integers(0, 9))), bool))
        for left, top in rng.integers(0, 30, (60, 2)).tolist()
    ]
    class_ids = rng.integers(0, 2, 60)
    expected = list(range(60))
    for index in range(60):
        for other in range(index):
            pixels = [
                {(y + mask.top, x + mask.left) for y, x in np.argwhere(mask.pixels).tolist()}
                for mask in (masks[index], masks[other])
            ]
            common, smaller = len(pixels[0] & pixels[1]), min(map(len, pixels))
            if class_ids[index] == class_ids[other] and common and common / smaller >= 0.3:
                low, high = sorted((expected[index], expected[other]))
                expected = [low if first == high else first for first in expected]

    assert group_overlapping(masks, class_ids, 0.3).tolist() == expected
    assert len(set(expected)) < 50


def test_segments_apart_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[None] = []

    def count(*_: object) -> int:
        compared.append(None)
        return 0

    monkeypatch.setattr("shared.vision.masks.overlap._intersection", count)
    masks = [Mask(20 * index % 2000, index // 100 * 20, np.ones((22, 10), bool)) for index in range(8000)]

    group_overlapping(masks, np.zeros(8000, np.int64), 0.5)

    assert len(compared) < 8000  # each overlaps the one below; all pairs are 32 million
