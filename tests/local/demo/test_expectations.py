"""What counts as missing: each promise is broken once."""

from dataclasses import replace

import pytest

from local.demo.beds import Bed
from local.demo.comparison import Comparison
from local.demo.expectations import missing
from local.demo.plan import Ask

BY_MESSAGE = Ask("message", "tenant-001", "bed.jpg", request_id="r-1")
COUNT = Ask("message", "tenant-001", "bed.jpg", pipeline="count_plants")
TWICE = Ask("message", "tenant-001", "bed.jpg", verdict="duplicate")


def test_nothing_is_missing_from_what_was_promised(done, rejected):
    assert missing([done(), done(BY_MESSAGE), rejected(), done(TWICE, event_id="e-2")]) == []


@pytest.mark.parametrize(
    ("ask", "differences", "sentence"),
    [
        (None, {"verdict": ""}, "no verdict in time"),
        (None, {"verdict": "rejected", "reason": "No."}, "rejected instead of done. No"),
        (None, {"annotated": None}, "no annotated.jpg"),
        (None, {"document": {"tenant_id": "tenant-002"}}, "tenant: 'tenant-002' instead of 'tenant-001'"),
        (None, {"generations": {"detect": 8}}, "detect model generation: 7 instead of 8"),
        (None, {"document": {"models": {}}}, "models: [] instead of ['detect']"),
        (None, {"document": {"counts": {"plant": 3}}}, "counts: {'plant': 3} instead of {'plant': 2}"),
        (
            None,
            {"document": {"models": {"detect": {"generation": 7, "labels": ["seedling"]}}}},
            "detect labels: ('seedling',) instead of ('plant',)",
        ),
        (
            None,
            {"document": {"image": {"generation": 10, "width": 40, "height": 30}}},
            "image generation: '10' instead of '11'",
        ),
        (
            None,
            {"document": {"image": {"generation": 11, "width": 30, "height": 40}}},
            "picture's size: (40, 30) instead of (30, 40)",
        ),
        (BY_MESSAGE, {"document": {"request_id": None}}, "request_id: None instead of 'r-1'"),
        (BY_MESSAGE, {"document": {"event_id": "another"}}, "event: 'another' instead of 'e-1'"),
        (COUNT, {"document": {"pipeline": "detect"}}, "pipeline: 'detect' instead of 'count_plants'"),
        (TWICE, {}, "the result was written anew"),
    ],
)
def test_a_result_that_is_not_what_was_promised(done, ask, differences, sentence):
    [told] = missing([done(ask, **differences)])
    assert told.startswith("tenant-001 bed.jpg (by ")
    assert sentence in told


@pytest.mark.parametrize(
    ("found", "beds", "sentences"),
    [
        pytest.param(100, [Bed("bed 1", 60, 60, 1), Bed("bed 2", 40, 40, 1)], [], id="as it is"),
        pytest.param(104, [Bed("bed 1", 60, 66, 1), Bed("bed 2", 40, 40, 2)], [], id="off by little"),
        pytest.param(94, [Bed("bed 1", 94, 94, 1)], ["94 counted, 100 there"], id="too few"),
        pytest.param(106, [], [], id="nothing was counted in beds"),
        pytest.param(106, [Bed("bed 1", 106, 106, 1)], ["106 counted, 100 there"], id="too many"),
        pytest.param(
            100,
            [Bed("bed 1", 60, 49, 1), Bed("bed 2", 40, 51, 1)],
            ["bed 1: 49 counted, 60 there", "bed 2: 51 counted, 40 there"],
            id="in the wrong bed",
        ),
        pytest.param(100, [Bed("bed 1", 12, 15, 1)], [], id="three of twelve are little"),
        pytest.param(100, [Bed("bed 1", 9, 0, 0)], ["bed 1: 0 counted, 9 there"], id="a bed that nobody saw"),
    ],
)
def test_counts_of_beds(done, found, beds, sentences):
    answer = done(
        COUNT,
        comparison=Comparison({"plant": 100}, {"plant": found}, {"plant": 90}),
        beds=beds,
        document={"counts": {"plant": found}},
    )
    assert [told.partition("): ")[2] for told in missing([answer])] == sentences


def test_a_class_is_not_counted(done):
    answer = done(
        Ask("message", "tenant-001", "bed.jpg", models=("classify",)),
        generations={"classify": 3},
        comparison=Comparison({"dry": 1}, {"dry": 1}, {"dry": 1}),
        document={
            "models": {"classify": {"generation": 3, "labels": ["healthy", "dry", "diseased"]}},
            "classification": [{"label": "dry", "class_id": 1, "confidence": 0.9}],
            "counts": {},
        },
    )
    assert missing([answer]) == []


def test_no_result_at_all(done):
    assert missing([replace(done(), document=None)]) == ["tenant-001 bed.jpg (by upload): no result.json"]


@pytest.mark.parametrize(
    ("differences", "sentence"),
    [
        ({"error": {"status": "404"}}, "the error topic says 404 model_not_found instead of 400 model_not_found"),
        ({"error": {"attributes": {}}}, "the error names the tenant None"),
        ({"error": {"sentence": "Sorry"}}, "the error says 'Sorry' instead of \"Model 'detect' not found"),
        ({"document": {}}, "there is a result of what was rejected"),
    ],
)
def test_an_error_that_is_not_what_was_promised(rejected, differences, sentence):
    [told] = missing([rejected(**differences)])
    assert sentence in told


def test_the_error_names_the_model_that_is_not_there(rejected):
    ask = replace(rejected().ask, lacks="segment", pipeline="segment")
    sentence = "Model 'segment' not found for tenant 'tenant-003'"
    assert missing([rejected(ask=ask, error={"sentence": sentence})]) == []
    [told] = missing([rejected(ask=ask)])
    assert f'instead of "{sentence}"' in told


def test_an_error_that_never_came(rejected):
    assert missing([replace(rejected(), error=None)]) == [
        "tenant-003 bed.jpg (by upload): nothing on the error topic"
    ]


def test_a_model_that_does_not_see_its_own_world(done):
    answer = done(comparison=Comparison({"plant": 9}, {"plant": 2}, {"plant": 2}))
    assert missing([answer]) == ["tenant-001: 2 of 9 found where they are: is this its model?"]
