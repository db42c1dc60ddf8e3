"""Merging: known answers in a table, and for all other inputs the rules written out pair by pair."""

import itertools
from random import Random

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.errors import DeadlineExceeded, ImageTooLarge
from shared.runtime import deadline
from shared.vision.arrays import BoolArray, Float64Array
from shared.vision.boxes import pairs
from shared.vision.boxes.detections import Detections
from shared.vision.boxes.matching import OverlapMetric, match_boxes, merge_boxes
from shared.vision.boxes.merge import (
    Merged,
    MergeKind,
    _box_columns,
    _claims,
    _claims_by_rows,
    merge,
)
from shared.vision.boxes.pairs import MAX_BOXES

Row = tuple[float, float, float, float, float, int]  # x1, y1, x2, y2, confidence, class id
Box = tuple[float, float, float, float]
Setting = tuple[MergeKind, OverlapMetric]

NMS, NMM, GREEDY, IOU, IOS = (
    MergeKind.NMS,
    MergeKind.NMM,
    MergeKind.GREEDYNMM,
    OverlapMetric.IOU,
    OverlapMetric.IOS,
)
SETTINGS: list[Setting] = list(itertools.product(MergeKind, OverlapMetric))


def detections(rows: list[Row]) -> Detections:
    boxes = np.array([row[:4] for row in rows], np.float32).reshape(-1, 4)
    confidences = np.array([row[4] for row in rows], np.float32)
    return Detections(boxes, confidences, np.array([row[5] for row in rows], np.int64))


def rows_and_groups(merged: Merged) -> tuple[list[Row], list[list[int]]]:
    """Return merged detections as rows, and their groups as lists."""
    rows = zip(
        merged.detections.boxes_xyxy.tolist(),
        merged.detections.confidences.tolist(),
        merged.detections.class_ids.tolist(),
        strict=True,
    )
    return [(*box, confidence, class_id) for box, confidence, class_id in rows], [
        group.tolist() for group in merged.groups
    ]


def boxes_of(merged: Merged) -> list[Box]:
    return [(x1, y1, x2, y2) for x1, y1, x2, y2 in merged.detections.boxes_xyxy.tolist()]


def overlap(a: Row | Box, b: Row | Box, metric: OverlapMetric) -> float:
    intersection = max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    whole = sum(areas) - intersection if metric == IOU else min(areas)
    return intersection / whole if intersection else 0


def merged_by_definition(
    rows: list[Row],
    kind: MergeKind,
    metric: OverlapMetric,
    threshold: float,
    class_agnostic: bool,  # noqa: FBT001
) -> tuple[list[Row], list[list[int]]]:
    """Apply the rules of the module's docstring, one pair of boxes at a time."""
    ranked = sorted(range(len(rows)), key=lambda i: (-rows[i][4], *rows[i][:4], rows[i][5]))
    keeper_of: dict[int, int] = {}
    claims: dict[int, list[int]] = {}
    for rank, i in enumerate(ranked):
        if i not in keeper_of:
            claims[i] = []
        elif kind != NMM:
            continue
        for j in sorted(ranked[rank + 1 :]) if kind == NMM else ranked[rank + 1 :]:
            same_class = class_agnostic or rows[i][5] == rows[j][5]
            if j not in keeper_of and same_class and overlap(rows[i], rows[j], metric) >= threshold:
                keeper_of[j] = keeper_of.get(i, i)
                claims[keeper_of[j]].append(j)
    merged: list[tuple[Row, list[int]]] = []
    for keeper, claimed in claims.items():
        x1, y1, x2, y2, confidence, class_id = rows[keeper]
        group = [keeper]
        for j in claimed if kind != NMS else []:
            if overlap((x1, y1, x2, y2), rows[j], metric) >= threshold:
                left, top, right, bottom = rows[j][:4]
                x1, y1, x2, y2 = min(x1, left), min(y1, top), max(x2, right), max(y2, bottom)
                group.append(j)
        merged.append(((x1, y1, x2, y2, confidence, class_id), group))
    merged.sort(key=lambda item: (-item[0][4], *item[0]))
    return [row for row, _ in merged], [group for _, group in merged]


# A chain: A overlaps B, B overlaps C, and A does not overlap C.
A: Row = (0, 0, 10, 10, 0.75, 0)
B: Row = (5, 0, 15, 10, 0.5, 0)
C: Row = (10, 0, 20, 10, 0.25, 0)
INSIDE_A: Row = (2, 2, 4, 4, 0.875, 0)
WIDE: Row = (0, 0, 40, 10, 0.75, 0)
AT_END_OF_WIDE: Row = (30, 0, 50, 10, 0.5, 0)  # half of it is in WIDE
POINT: Row = (3, 3, 3, 3, 0.5, 0)
# The IoU of TALL and either other box is 0.5 or more; that of LEFT and RIGHT merged with TALL is less.
TALL: Row = (0, 0, 10, 10, 0.75, 0)
LEFT: Row = (-6, 0, 9, 10, 0.5, 0)
RIGHT: Row = (1, 0, 16, 10, 0.25, 0)


@pytest.mark.parametrize("class_agnostic", [False, True])
@pytest.mark.parametrize(("kind", "metric"), SETTINGS)
def test_merge_of_no_boxes_is_empty(
    kind: MergeKind,
    metric: OverlapMetric,
    class_agnostic: bool,  # noqa: FBT001
) -> None:
    merged = merge(Detections.empty(), kind=kind, metric=metric, threshold=0.5, class_agnostic=class_agnostic)

    assert rows_and_groups(merged) == ([], [])
    assert merged.detections.boxes_xyxy.shape == (0, 4)


@pytest.mark.parametrize(
    ("rows", "setting", "boxes", "groups"),
    [
        pytest.param([A], (GREEDY, IOS, 0.5), [(0, 0, 10, 10)], [[0]], id="one box"),
        pytest.param(
            [A, C],
            (NMM, IOS, 0.1),
            [(0, 0, 10, 10), (10, 0, 20, 10)],
            [[0], [1]],
            id="touching boxes do not match",
        ),
        pytest.param([A, B], (NMS, IOS, 0.5), [(0, 0, 10, 10)], [[0]], id="exactly the threshold matches"),
        pytest.param(
            [A, B], (NMS, IOU, 0.5), [(0, 0, 10, 10), (5, 0, 15, 10)], [[0], [1]], id="IoU below the threshold"
        ),
        pytest.param([A, B], (GREEDY, IOS, 0.5), [(0, 0, 15, 10)], [[0, 1]], id="greedy merges two"),
        pytest.param([B, A], (GREEDY, IOS, 0.5), [(0, 0, 15, 10)], [[1, 0]], id="keeper is first in its group"),
        pytest.param(
            [A, B, C],
            (GREEDY, IOS, 0.5),
            [(0, 0, 15, 10), (10, 0, 20, 10)],
            [[0, 1], [2]],
            id="greedy does not follow a chain",
        ),
        pytest.param([A, B, C], (NMM, IOS, 0.5), [(0, 0, 20, 10)], [[0, 1, 2]], id="NMM follows a chain"),
        pytest.param(
            [A, B, C],
            (NMM, IOU, 0.3),
            [(0, 0, 15, 10)],
            [[0, 1]],
            id="NMM drops a claimed box that does not match the merged box",
        ),
        pytest.param([A, INSIDE_A], (NMS, IOS, 0.5), [(2, 2, 4, 4)], [[1]], id="smaller stronger box suppresses"),
        pytest.param(
            [A, INSIDE_A], (GREEDY, IOS, 0.5), [(0, 0, 10, 10)], [[1, 0]], id="smaller box is the keeper"
        ),
        pytest.param(
            [WIDE, AT_END_OF_WIDE], (GREEDY, IOS, 0.5), [(0, 0, 50, 10)], [[0, 1]], id="IoS of a long box"
        ),
        pytest.param(
            [POINT, POINT, A],
            (NMM, IOS, 0.5),
            [A[:4], POINT[:4], POINT[:4]],
            [[2], [0], [1]],
            id="boxes without an area match no box",
        ),
    ],
)
def test_merge_of_known_answers(
    rows: list[Row], setting: tuple[MergeKind, OverlapMetric, float], boxes: list[Box], groups: list[list[int]]
) -> None:
    kind, metric, threshold = setting

    merged = merge(detections(rows), kind=kind, metric=metric, threshold=threshold)

    assert boxes_of(merged) == boxes
    assert [group.tolist() for group in merged.groups] == groups
    best = [max(rows[index][4] for index in group) for group in groups]
    assert merged.detections.confidences.tolist() == best


def test_greedy_drops_claimed_box_that_does_not_match_the_merged_box() -> None:
    merged = merge(detections([TALL, LEFT, RIGHT]), kind=GREEDY, metric=IOU, threshold=0.5)

    rows, groups = rows_and_groups(merged)
    assert rows == [(-6, 0, 10, 10, 0.75, 0)]  # IoU 9 of 16 px with LEFT; then 9 of 22 px with RIGHT
    assert groups == [[0, 1]]


@pytest.mark.parametrize(
    ("rows", "box"),
    [
        pytest.param([TALL, LEFT, RIGHT], (-6, 0, 10, 10), id="stronger box comes first"),
        pytest.param([RIGHT, LEFT, TALL], (0, 0, 16, 10), id="weaker box comes first"),
    ],
)
def test_nmm_merges_claimed_boxes_in_input_order(rows: list[Row], box: Box) -> None:
    merged = merge(detections(rows), kind=NMM, metric=IOU, threshold=0.5)

    assert boxes_of(merged) == [box]


@pytest.mark.parametrize(("class_agnostic", "class_ids"), [(False, [0, 1]), (True, [1])])
@pytest.mark.parametrize(("kind", "metric"), SETTINGS)
def test_classes_are_merged_only_if_class_agnostic(
    kind: MergeKind,
    metric: OverlapMetric,
    class_agnostic: bool,  # noqa: FBT001
    class_ids: list[int],
) -> None:
    pair = detections([(0, 0, 9, 9, 0.25, 0), (0, 0, 9, 9, 0.5 if class_agnostic else 0.25, 1)])

    merged = merge(pair, kind=kind, metric=metric, threshold=0.5, class_agnostic=class_agnostic)

    assert merged.detections.class_ids.tolist() == class_ids


def test_low_confidences_do_not_change_the_kind_of_merging() -> None:
    low: list[Row] = [(x1, y1, x2, y2, confidence / 100, 0) for x1, y1, x2, y2, confidence, _ in (A, B)]

    merged = merge(detections(low), kind=GREEDY, metric=IOS, threshold=0.5)

    assert rows_and_groups(merged)[1] == [[0, 1]]


COORDINATE = st.integers(0, 9)
# Some have x2 < x1 or y2 < y1.
ROW = st.tuples(
    COORDINATE, COORDINATE, COORDINATE, COORDINATE, st.sampled_from([0.25, 0.5, 0.75]), st.integers(0, 2)
)
ROWS = st.lists(ROW, max_size=30)


@given(
    rows=ROWS,
    setting=st.sampled_from(SETTINGS),
    threshold=st.sampled_from([0.1, 0.25, 1 / 3, 0.5, 0.75, 1]),
    class_agnostic=st.booleans(),
)
@example(rows=[A, B, C], setting=(NMM, IOU), threshold=0.3, class_agnostic=False)
def test_merge_equals_the_rules_written_out(
    rows: list[Row],
    setting: Setting,
    threshold: float,
    class_agnostic: bool,  # noqa: FBT001
) -> None:
    kind, metric = setting

    merged = merge(detections(rows), kind=kind, metric=metric, threshold=threshold, class_agnostic=class_agnostic)

    expected_rows, expected_groups = merged_by_definition(rows, kind, metric, threshold, class_agnostic)
    merged_rows, groups = rows_and_groups(merged)
    assert merged_rows == expected_rows
    # Boxes that are equal in everything may change roles, which makes no difference to the result.
    assert sorted([rows[i] for i in group] for group in groups) == sorted(
        [rows[i] for i in group] for group in expected_groups
    )
    assert len(set(itertools.chain(*groups))) == sum(map(len, groups))


@given(
    rows=ROWS,
    setting=st.sampled_from([(kind, metric) for kind, metric in SETTINGS if kind != NMM]),
    random=st.randoms(use_true_random=False),
)
def test_order_of_input_does_not_matter_except_for_nmm(rows: list[Row], setting: Setting, random: Random) -> None:
    kind, metric = setting
    shuffled = random.sample(rows, len(rows))

    first, second = (
        rows_and_groups(merge(detections(order), kind=kind, metric=metric, threshold=0.4))[0]
        for order in (rows, shuffled)
    )

    assert first == second


@given(rows=ROWS, setting=st.sampled_from(SETTINGS), threshold=st.sampled_from([0.1, 0.5, 1]))
def test_claims_by_pairs_equal_claims_by_rows(rows: list[Row], setting: Setting, threshold: float) -> None:
    rows = [row for row in rows if row[0] < row[2] and row[1] < row[3]]
    ranked = detections(rows).sorted()
    boxes = _box_columns(ranked)
    claim_order = np.random.default_rng(len(rows)).permutation(len(rows))

    by_pairs = _claims(boxes, ranked.class_ids, *setting, threshold, claim_order=claim_order).by_keeper()
    by_rows = _claims_by_rows(boxes, ranked.class_ids, *setting, threshold, claim_order=claim_order).by_keeper()

    assert by_pairs.keepers.tolist() == by_rows.keepers.tolist()
    assert by_pairs.claimed.tolist() == by_rows.claimed.tolist()


# 300: more candidate pairs than are compared in one chunk.
@pytest.mark.parametrize("size", [3, 30, 300])
def test_merge_of_many_boxes_equals_the_rules_at_any_density(size: int) -> None:
    rng = np.random.default_rng(size)
    corner, wh = rng.uniform(0, 400, (700, 2)), rng.exponential(size, (700, 2))
    boxes = np.concatenate((corner, corner + wh), axis=1).astype(np.float32)
    confidences = (rng.permutation(700).astype(np.float32) / 700).astype(np.float32)
    many = Detections(boxes, confidences, rng.integers(0, 2, 700))
    rows: list[Row] = [
        (*box, confidence, class_id)
        for box, confidence, class_id in zip(boxes.tolist(), confidences.tolist(), many.class_ids, strict=True)
    ]

    merged = merge(many, kind=GREEDY, metric=IOS, threshold=0.5)

    assert rows_and_groups(merged) == merged_by_definition(rows, GREEDY, IOS, 0.5, class_agnostic=False)


# With the first, keepers' boxes are merged one by one, with the last all at once.
@pytest.mark.parametrize("min_array_keepers", [10_000, 30, 0])
@pytest.mark.parametrize(("kind", "metric"), SETTINGS)
def test_merge_of_many_claims_equals_the_rules(
    kind: MergeKind, metric: OverlapMetric, min_array_keepers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.vision.boxes.matching._MIN_ARRAY_KEEPERS", min_array_keepers)
    rng = np.random.default_rng(1)
    corner = rng.integers(0, 12, (60, 2)).repeat(5, axis=0) * 20 + rng.integers(0, 8, (300, 2))
    rows: list[Row] = [
        (x, y, x + width, y + height, index / 512, 0)
        for index, ((x, y), (width, height)) in enumerate(
            zip(corner.tolist(), rng.integers(8, 30, (300, 2)).tolist(), strict=True)
        )
    ]

    merged = merge(detections(rows), kind=kind, metric=metric, threshold=0.3)

    expected_rows, expected_groups = merged_by_definition(rows, kind, metric, 0.3, class_agnostic=False)
    assert rows_and_groups(merged) == (expected_rows, expected_groups)
    assert max(map(len, expected_groups)) > 3 or kind == NMS


def grid(count: int, side: float, step: float) -> Detections:
    """Return `count` squares of one confidence, `step` px from one to the next."""
    y, x = np.divmod(np.arange(count, dtype=np.float32), np.float32(500))
    boxes = np.stack((x * step, y * step, x * step + side, y * step + side), axis=1).astype(np.float32)
    return Detections(boxes, np.full(count, 0.5, np.float32), np.zeros(count, np.int64))


def test_as_many_boxes_as_allowed_are_merged_and_one_more_is_rejected() -> None:
    merged = merge(grid(MAX_BOXES, 10, 20), kind=GREEDY, metric=IOS, threshold=0.5)

    assert len(merged.detections) == MAX_BOXES
    with pytest.raises(ImageTooLarge, match=rf"at least {MAX_BOXES + 1} boxes together, more than the limit"):
        merge(grid(MAX_BOXES + 1, 10, 20), kind=GREEDY, metric=IOS, threshold=0.5)


def test_as_many_pairs_as_allowed_are_compared_and_one_more_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    many = grid(200, 1000, 1)  # in one row, each overlapping all others: 200 * 199 / 2 pairs

    monkeypatch.setattr(pairs, "MAX_PAIRS", 19_900)
    assert len(merge(many, kind=GREEDY, metric=IOU, threshold=1).detections) == 200
    monkeypatch.setattr(pairs, "MAX_PAIRS", 19_899)
    with pytest.raises(ImageTooLarge, match="some 19900 pairs overlap, more than the limit of 19899"):
        merge(many, kind=GREEDY, metric=IOU, threshold=1)


def test_boxes_that_all_overlap_are_rejected_before_they_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.vision.boxes.merge.match_boxes", lambda *_: pytest.fail("compared"))

    with pytest.raises(ImageTooLarge, match=f"pairs overlap, more than the limit of {pairs.MAX_PAIRS}"):
        merge(grid(MAX_BOXES, 30_000, 1), kind=GREEDY, metric=IOU, threshold=1)


def test_sparse_boxes_are_compared_with_their_neighbours_only(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[int] = []

    def count_pairs(one: Float64Array, other: Float64Array, metric: OverlapMetric, threshold: float) -> BoolArray:
        compared.append(max(one.shape[1], other.shape[1]))
        return match_boxes(one, other, metric, threshold)

    monkeypatch.setattr("shared.vision.boxes.merge.match_boxes", count_pairs)

    merged = merge(grid(30_000, 100, 10), kind=GREEDY, metric=IOU, threshold=1)

    assert len(merged.detections) == 30_000
    assert sum(compared) < 30_000 * 400  # each overlaps 360 others; compared with all others it would be 15,000


@pytest.mark.parametrize("kind", [NMS, NMM, GREEDY])
@pytest.mark.parametrize("side", [pytest.param(60, id="pairs"), pytest.param(9000, id="rows")])
def test_merging_asks_the_deadline(side: float, kind: MergeKind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "_MIN_DENSE_PAIRS", 0)
    monkeypatch.setattr(pairs, "_CHUNK_PAIRS", 100)
    checks: list[None] = []
    monkeypatch.setattr(deadline, "check", lambda: checks.append(None))
    many = grid(1000, side, 10)

    merge(many, kind=kind, metric=IOU, threshold=0.9)

    assert len(checks) >= 100
    monkeypatch.undo()
    with deadline.fail_after(-1), pytest.raises(DeadlineExceeded):
        merge(many, kind=kind, metric=IOU, threshold=0.9)


def test_merging_many_claims_of_one_keeper_asks_the_deadline() -> None:
    keepers = np.zeros(20_000, np.int64)
    boxes = np.array([0, 0, 9, 9, 81], np.float64)[:, None].repeat(20_001, axis=1)

    with deadline.fail_after(-1), pytest.raises(DeadlineExceeded):
        merge_boxes(boxes, keepers[:1], keepers, np.arange(1, 20_001), metric=IOU, threshold=0.5)


@pytest.mark.parametrize("kind", [NMS, NMM, GREEDY])
def test_thousands_of_equal_boxes_merge_into_one(kind: MergeKind) -> None:
    many = detections([(0, 0, 9, 9, index / 8192, 0) for index in range(4100)])

    merged = merge(many, kind=kind, metric=IOU, threshold=0.5)

    assert len(merged.detections) == 1
    assert len(merged.groups[0]) == (1 if kind == NMS else 4100)
    assert merged.groups[0][0] == 4099


@pytest.mark.parametrize("x2", [np.nan, np.inf, 3e38])
def test_box_without_a_finite_area_matches_no_box(x2: float) -> None:
    far = Detections(
        np.array([[0, 0, x2, 9], [0, 0, 9, 9], [0, 0, 9, 8]], np.float32),
        np.array([0.75, 0.5, 0.25], np.float32),
        np.zeros(3, np.int64),
    )

    merged = merge(far, kind=GREEDY, metric=IOU, threshold=0.5)

    assert [group.tolist() for group in merged.groups] == [[0], [1, 2]]


@pytest.mark.parametrize("threshold", [0, -0.5, 1.01, float("nan")])
def test_threshold_outside_0_to_1_is_rejected(threshold: float) -> None:
    with pytest.raises(ValueError, match=r"threshold=.* is invalid"):
        merge(detections([A]), kind=NMS, metric=IOU, threshold=threshold)


@pytest.mark.parametrize(("kind", "metric"), [("LSNMS", "IOU"), ("NMS", "GIOU")])
def test_unknown_kind_or_metric_is_rejected(kind: MergeKind, metric: OverlapMetric) -> None:
    with pytest.raises(ValueError, match="is not a valid"):
        merge(detections([A]), kind=kind, metric=metric, threshold=0.5)


def test_merge_does_not_change_its_input() -> None:
    before, given_detections = detections([A, B, INSIDE_A]), detections([A, B, INSIDE_A])

    merge(given_detections, kind=NMM, metric=IOS, threshold=0.5)

    np.testing.assert_array_equal(given_detections.boxes_xyxy, before.boxes_xyxy)
