from dataclasses import replace
from typing import Any

import pytest

from local.demo.bed_counts import BedCount
from local.demo.comparison import Comparison
from local.demo.expectations import unmet_expectations
from local.demo.plan import Step
from tests.local.demo.outcomes import MakeOutcome

WITH_REQUEST_ID = Step("message", "tenant-001", "bed.jpg", request_id="r-1")
WITH_PIPELINE = Step("message", "tenant-001", "bed.jpg", pipeline="count_plants")
DUPLICATE = Step("message", "tenant-001", "bed.jpg", expected_verdict="duplicate")


def test_no_sentences_if_every_expectation_is_met(make_done: MakeOutcome, make_rejected: MakeOutcome) -> None:
    duplicate = make_done(DUPLICATE, event_id="e-2")
    assert unmet_expectations([make_done(), make_done(WITH_REQUEST_ID), make_rejected(), duplicate]) == []


@pytest.mark.parametrize(
    ("step", "fields", "sentence"),
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
        (WITH_REQUEST_ID, {"document": {"request_id": None}}, "request_id: None instead of 'r-1'"),
        (WITH_REQUEST_ID, {"document": {"event_id": "another"}}, "event: 'another' instead of 'e-1'"),
        (WITH_PIPELINE, {"document": {"pipeline": "detect"}}, "pipeline: 'detect' instead of 'count_plants'"),
        (DUPLICATE, {}, "the result was written again"),
    ],
)
def test_result_that_differs_from_the_expected_one(
    make_done: MakeOutcome, step: Step | None, fields: dict[str, Any], sentence: str
) -> None:
    [unmet] = unmet_expectations([make_done(step, **fields)])

    assert unmet.startswith("tenant-001 bed.jpg (by ")
    assert sentence in unmet


@pytest.mark.parametrize(
    ("counted", "beds", "sentences"),
    [
        pytest.param(100, [BedCount("bed 1", 60, 60, 1), BedCount("bed 2", 40, 40, 1)], [], id="exact"),
        pytest.param(
            104, [BedCount("bed 1", 60, 66, 1), BedCount("bed 2", 40, 40, 2)], [], id="small error in one bed"
        ),
        pytest.param(94, [BedCount("bed 1", 94, 94, 1)], ["94 counted, 100 actual"], id="too few objects"),
        pytest.param(106, [], [], id="result without beds"),
        pytest.param(106, [BedCount("bed 1", 106, 106, 1)], ["106 counted, 100 actual"], id="too many objects"),
        pytest.param(
            100,
            [BedCount("bed 1", 60, 49, 1), BedCount("bed 2", 40, 51, 1)],
            ["bed 1: 49 counted, 60 actual", "bed 2: 51 counted, 40 actual"],
            id="counted in the wrong bed",
        ),
        pytest.param(100, [BedCount("bed 1", 12, 15, 1)], [], id="difference of three in a small bed"),
        pytest.param(
            100, [BedCount("bed 1", 9, 0, 0)], ["bed 1: 0 counted, 9 actual"], id="bed without a segment"
        ),
    ],
)
def test_counts_of_beds_must_be_close_to_the_actual_ones(
    make_done: MakeOutcome, counted: int, beds: list[BedCount], sentences: list[str]
) -> None:
    outcome = make_done(
        WITH_PIPELINE,
        comparison=Comparison({"plant": 100}, {"plant": counted}, {"plant": 90}),
        beds=beds,
        document={"counts": {"plant": counted}},
    )

    unmet = unmet_expectations([outcome])

    assert [sentence.partition("): ")[2] for sentence in unmet] == sentences


def test_classification_needs_no_counts(make_done: MakeOutcome) -> None:
    outcome = make_done(
        Step("message", "tenant-001", "bed.jpg", model_types=("classify",)),
        generations={"classify": 3},
        comparison=Comparison({"dry": 1}, {"dry": 1}, {"dry": 1}),
        document={
            "models": {"classify": {"generation": 3, "labels": ["healthy", "dry", "diseased"]}},
            "classification": [{"label": "dry", "class_id": 1, "confidence": 0.9}],
            "counts": {},
        },
    )

    assert unmet_expectations([outcome]) == []


def test_missing_result(make_done: MakeOutcome) -> None:
    outcome = replace(make_done(), document=None)
    assert unmet_expectations([outcome]) == ["tenant-001 bed.jpg (by upload): no result.json"]


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"error": {"status": "404"}}, "the error topic has 404 model_not_found instead of 400 model_not_found"),
        ({"error": {"attributes": {}}}, "the error names the tenant None instead of 'tenant-003'"),
        ({"error": {"text": "Sorry"}}, "the error says 'Sorry' instead of \"Model 'detect' not found"),
        ({"document": {}}, "a result was written although the step was rejected"),
    ],
)
def test_error_that_differs_from_the_expected_one(
    make_rejected: MakeOutcome, fields: dict[str, Any], sentence: str
) -> None:
    [unmet] = unmet_expectations([make_rejected(**fields)])
    assert sentence in unmet


def test_error_must_name_the_missing_model(make_rejected: MakeOutcome) -> None:
    step = replace(make_rejected().step, missing_model="segment", pipeline="segment")
    text = "Model 'segment' not found for tenant 'tenant-003'"

    assert unmet_expectations([make_rejected(step, error={"text": text})]) == []
    [unmet] = unmet_expectations([make_rejected(step)])
    assert f'instead of "{text}"' in unmet


def test_missing_error_message(make_rejected: MakeOutcome) -> None:
    assert unmet_expectations([replace(make_rejected(), error=None)]) == [
        "tenant-003 bed.jpg (by upload): no message on the error topic"
    ]


def test_model_that_matches_too_few_objects_of_its_tenant(make_done: MakeOutcome) -> None:
    outcome = make_done(comparison=Comparison({"plant": 9}, {"plant": 2}, {"plant": 2}))
    assert unmet_expectations([outcome]) == [
        "tenant-001: only 2 of 9 objects were matched; was another model used?"
    ]
