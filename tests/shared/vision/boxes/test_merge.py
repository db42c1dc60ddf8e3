"""Merging: known answers in a table, and the rules written out pair by pair for everything else."""

import itertools

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.vision.boxes.detections import Detections
from shared.vision.boxes.merge import MergeKind, OverlapMetric, _claims, _claims_by_rows, _columns, merge

NMS, NMM, GREEDY, IOU, IOS = (
    MergeKind.NMS,
    MergeKind.NMM,
    MergeKind.GREEDYNMM,
    OverlapMetric.IOU,
    OverlapMetric.IOS,
)
SETTINGS = list(itertools.product(MergeKind, OverlapMetric))


def detections(rows):
    """From rows of (x1, y1, x2, y2, confidence, class)."""
    boxes = np.array([row[:4] for row in rows], np.float32).reshape(-1, 4)
    confidences = np.array([row[4] for row in rows], np.float32)
    return Detections(boxes, confidences, np.array([row[5] for row in rows], np.int64))


def told(merged):
    """Back to rows, and the groups as lists."""
    found = merged.detections
    rows = zip(found.boxes_xyxy.tolist(), found.confidences.tolist(), found.class_ids.tolist(), strict=True)
    return [(*box, confidence, label) for box, confidence, label in rows], [g.tolist() for g in merged.groups]


def overlap(a, b, metric):
    common = max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return common / (sum(areas) - common if metric == IOU else min(areas)) if common else 0


def written_out(rows, kind, metric, threshold, class_agnostic):
    """The rules, one pair at a time."""
    turns = sorted(range(len(rows)), key=lambda i: (-rows[i][4], *rows[i][:4], rows[i][5]))
    owner, claims = {}, {}
    for turn, i in enumerate(turns):
        if i not in owner:
            claims[i] = []
        elif kind != NMM:
            continue
        for j in sorted(turns[turn + 1 :]) if kind == NMM else turns[turn + 1 :]:
            of_a_kind = class_agnostic or rows[i][5] == rows[j][5]
            if j not in owner and of_a_kind and overlap(rows[i], rows[j], metric) >= threshold:
                owner[j] = owner.get(i, i)
                claims[owner[j]].append(j)
    merged = []
    for keeper, claimed in claims.items():
        box, group = rows[keeper][:4], [keeper]
        for j in claimed if kind != NMS else []:
            if overlap(box, rows[j], metric) >= threshold:
                box = (*map(min, box[:2], rows[j][:2]), *map(max, box[2:], rows[j][2:4]))
                group.append(j)
        merged.append(((*box, *rows[keeper][4:]), group))
    merged.sort(key=lambda one: (-one[0][4], *one[0]))
    return [row for row, _ in merged], [group for _, group in merged]


A, B, C = (0, 0, 10, 10, 0.75, 0), (5, 0, 15, 10, 0.5, 0), (10, 0, 20, 10, 0.25, 0)  # a chain: A-B, B-C
SMALL = (2, 2, 4, 4, 0.875, 0)  # in A
WIDE = (0, 0, 40, 10, 0.75, 0)
AT_ITS_END = (30, 0, 50, 10, 0.5, 0)  # half of it in WIDE, and less of it than half in what WIDE may become
POINT = (3, 3, 3, 3, 0.5, 0)


@pytest.mark.parametrize("class_agnostic", [False, True])
@pytest.mark.parametrize(("kind", "metric"), SETTINGS)
def test_of_nothing_comes_nothing(kind, metric, class_agnostic):
    merged = merge(Detections.empty(), kind=kind, metric=metric, threshold=0.5, class_agnostic=class_agnostic)
    assert told(merged) == ([], [])
    assert merged.detections.boxes_xyxy.shape == (0, 4)


@pytest.mark.parametrize(
    ("rows", "setting", "boxes", "groups"),
    [
        ([A], (GREEDY, IOS, 0.5), [(0, 0, 10, 10)], [[0]]),
        ([A, C], (NMM, IOS, 0.1), [(0, 0, 10, 10), (10, 0, 20, 10)], [[0], [1]]),  # touching is not overlapping
        ([A, B], (NMS, IOS, 0.5), [(0, 0, 10, 10)], [[0]]),  # exactly the threshold is enough
        ([A, B], (NMS, IOU, 0.5), [(0, 0, 10, 10), (5, 0, 15, 10)], [[0], [1]]),
        ([A, B], (GREEDY, IOS, 0.5), [(0, 0, 15, 10)], [[0, 1]]),
        ([B, A], (GREEDY, IOS, 0.5), [(0, 0, 15, 10)], [[1, 0]]),  # the keeper first
        ([A, B, C], (GREEDY, IOS, 0.5), [(0, 0, 15, 10), (10, 0, 20, 10)], [[0, 1], [2]]),  # C is not A's
        ([A, B, C], (NMM, IOS, 0.5), [(0, 0, 20, 10)], [[0, 1, 2]]),  # it is, on B's word
        (
            [A, B, C],
            (NMM, IOU, 0.3),
            [(0, 0, 15, 10)],
            [[0, 1]],
        ),  # grown to 15 px, it is no longer like C: dropped
        ([A, SMALL], (NMS, IOS, 0.5), [(2, 2, 4, 4)], [[1]]),
        ([A, SMALL], (GREEDY, IOS, 0.5), [(0, 0, 10, 10)], [[1, 0]]),
        ([WIDE, AT_ITS_END], (GREEDY, IOS, 0.5), [(0, 0, 50, 10)], [[0, 1]]),
        ([POINT, POINT, A], (NMM, IOS, 0.5), [A[:4], POINT[:4], POINT[:4]], [[2], [0], [1]]),
    ],
)
def test_known_answers(rows, setting, boxes, groups):
    kind, metric, threshold = setting
    merged = merge(detections(rows), kind=kind, metric=metric, threshold=threshold)
    assert [tuple(box) for box in merged.detections.boxes_xyxy.tolist()] == boxes
    assert [group.tolist() for group in merged.groups] == groups
    best = [max(rows[index][4] for index in group) for group in groups]
    assert merged.detections.confidences.tolist() == best


def test_what_the_grown_box_does_not_match_is_dropped():
    tall, left, right = (0, 0, 10, 10, 0.75, 0), (-6, 0, 9, 10, 0.5, 0), (1, 0, 16, 10, 0.25, 0)
    rows, groups = told(merge(detections([tall, left, right]), kind=GREEDY, metric=IOU, threshold=0.5))
    assert rows == [(-6, 0, 10, 10, 0.75, 0)]  # 9 of 16 px; then, of 16 and 15 px, 9 of 22
    assert groups == [[0, 1]]


def test_with_nmm_a_box_takes_in_the_first_tile_s_before_the_surest():
    tall, left, right = (0, 0, 10, 10, 0.75, 0), (-6, 0, 9, 10, 0.5, 0), (1, 0, 16, 10, 0.25, 0)
    for rows, box in (([tall, left, right], (-6, 0, 10, 10)), ([right, left, tall], (0, 0, 16, 10))):
        merged = merge(detections(rows), kind=NMM, metric=IOU, threshold=0.5)
        assert [tuple(each) for each in merged.detections.boxes_xyxy.tolist()] == [box]


@pytest.mark.parametrize(("class_agnostic", "labels"), [(False, [0, 1]), (True, [1])])
@pytest.mark.parametrize(("kind", "metric"), SETTINGS)
def test_classes_meet_only_when_asked_to(kind, metric, class_agnostic, labels):
    pair = detections([(0, 0, 9, 9, 0.25, 0), (0, 0, 9, 9, 0.5 if class_agnostic else 0.25, 1)])
    merged = merge(pair, kind=kind, metric=metric, threshold=0.5, class_agnostic=class_agnostic)
    assert merged.detections.class_ids.tolist() == labels


def test_low_confidences_change_nothing_of_the_method():
    low = [(*row[:4], row[4] / 100, 0) for row in (A, B)]
    assert told(merge(detections(low), kind=GREEDY, metric=IOS, threshold=0.5))[1] == [[0, 1]]


COORDINATE = st.integers(0, 9)
ROW = st.tuples(*[COORDINATE] * 4, st.sampled_from([0.25, 0.5, 0.75]), st.integers(0, 2))  # some inside out
ROWS = st.lists(ROW, max_size=30)


@given(
    rows=ROWS,
    setting=st.sampled_from(SETTINGS),
    threshold=st.sampled_from([0.1, 0.25, 1 / 3, 0.5, 0.75, 1]),
    class_agnostic=st.booleans(),
)
@example(rows=[A, B, C], setting=(NMM, IOU), threshold=0.3, class_agnostic=False)
def test_the_answer_is_that_of_the_rules_written_out(rows, setting, threshold, class_agnostic):
    kind, metric = setting
    merged = merge(detections(rows), kind=kind, metric=metric, threshold=threshold, class_agnostic=class_agnostic)
    expected, groups = written_out(rows, kind, metric, threshold, class_agnostic)
    found, members = told(merged)
    assert found == expected
    # boxes that are equal in everything may change roles, and nobody could tell
    assert sorted([rows[i] for i in group] for group in members) == sorted([rows[i] for i in g] for g in groups)
    assert len(set(itertools.chain(*members))) == sum(map(len, members))


@given(
    rows=ROWS,
    setting=st.sampled_from([(kind, metric) for kind, metric in SETTINGS if kind != NMM]),
    random=st.randoms(use_true_random=False),
)
def test_the_order_of_the_inputs_does_not_matter(rows, setting, random):
    kind, metric = setting
    shuffled = random.sample(rows, len(rows))
    first, second = (
        told(merge(detections(r), kind=kind, metric=metric, threshold=0.4))[0] for r in (rows, shuffled)
    )
    assert first == second


@given(rows=ROWS, setting=st.sampled_from(SETTINGS), threshold=st.sampled_from([0.1, 0.5, 1]))
def test_both_ways_to_find_who_matches_find_the_same(rows, setting, threshold):
    rows = [row for row in rows if row[0] < row[2] and row[1] < row[3]]
    found = detections(rows).sorted()
    boxes = _columns(found)
    places = np.random.default_rng(len(rows)).permutation(len(rows))
    by_pairs = _claims(boxes, found.class_ids, *setting, threshold, places=places)
    by_rows = _claims_by_rows(boxes, found.class_ids, *setting, threshold, places=places)
    assert {keeper: claimed for keeper, claimed in by_pairs.items() if claimed} == by_rows


@pytest.mark.parametrize("size", [3, 30, 300])  # few neighbours, some, and more pairs than fit in one go
def test_many_boxes_of_any_size(size):
    random = np.random.default_rng(size)
    corner, wh = random.uniform(0, 400, (700, 2)), random.exponential(size, (700, 2))
    boxes = np.concatenate((corner, corner + wh), axis=1).astype(np.float32)
    confidences = random.permutation(700).astype(np.float32) / 700
    many = Detections(boxes, confidences, random.integers(0, 2, 700))
    rows = [(*box, c, k) for box, c, k in zip(boxes.tolist(), confidences.tolist(), many.class_ids, strict=True)]
    merged = merge(many, kind=GREEDY, metric=IOS, threshold=0.5)
    assert told(merged) == written_out(rows, GREEDY, IOS, 0.5, class_agnostic=False)


@pytest.mark.parametrize("kind", [NMS, NMM, GREEDY])
def test_thousands_of_boxes_in_one_place_are_one_object(kind):
    many = detections([(0, 0, 9, 9, index / 8192, 0) for index in range(4100)])
    merged = merge(many, kind=kind, metric=IOU, threshold=0.5)
    assert len(merged.detections) == 1
    assert len(merged.groups[0]) == (1 if kind == NMS else 4100)
    assert merged.groups[0][0] == 4099


@pytest.mark.parametrize("beyond", [np.nan, np.inf, 3e38])
def test_a_box_that_is_nowhere_stays_by_itself(beyond):
    far = Detections(
        np.array([[0, 0, beyond, 9], [0, 0, 9, 9], [0, 0, 9, 8]], np.float32),
        np.array([0.75, 0.5, 0.25], np.float32),
        np.zeros(3, np.int64),
    )
    merged = merge(far, kind=GREEDY, metric=IOU, threshold=0.5)
    assert [group.tolist() for group in merged.groups] == [[0], [1, 2]]


@pytest.mark.parametrize("threshold", [0, -0.5, 1.01, float("nan")])
def test_a_threshold_is_a_share(threshold):
    with pytest.raises(ValueError, match="not from"):
        merge(detections([A]), kind=NMS, metric=IOU, threshold=threshold)


@pytest.mark.parametrize(("kind", "metric"), [("LSNMS", "IOU"), ("NMS", "GIOU")])
def test_other_methods_are_refused(kind, metric):
    with pytest.raises(ValueError, match="is not a valid"):
        merge(detections([A]), kind=kind, metric=metric, threshold=0.5)


def test_the_inputs_stay_as_they_were():
    before, given_ = detections([A, B, SMALL]), detections([A, B, SMALL])
    merge(given_, kind=NMM, metric=IOS, threshold=0.5)
    np.testing.assert_array_equal(given_.boxes_xyxy, before.boxes_xyxy)
