"""Check the outcomes against the plan, and describe each expectation that was not met."""

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from PIL import Image

from local.demo.comparison import total
from local.demo.step_outcome import StepOutcome
from samples.scenes import TENANTS

MIN_MATCHED_SHARE: Final = 0.5  # of a tenant's actual objects; fewer mean that another model was used
MAX_COUNT_ERROR: Final = 0.05  # of all objects in beds, as a share of the actual ones
MAX_BED_COUNT_ERROR: Final = 0.1  # of the objects in one bed
ALLOWED_BED_DIFFERENCE: Final = 3  # objects: plants cut by an edge are a large share of a small bed


def unmet_expectations(outcomes: Sequence[StepOutcome]) -> list[str]:
    """Return one sentence for each expectation that was not met."""
    return [sentence for outcome in outcomes for sentence in _unmet_of(outcome)] + [*_unmatched_tenants(outcomes)]


def _unmet_of(outcome: StepOutcome) -> Iterator[str]:
    step = outcome.step
    name = f"{step.tenant_id} {step.path} (by {step.channel})"
    if not outcome.verdict:
        yield f"{name}: no verdict in time"
    elif outcome.verdict != step.expected_verdict:
        yield f"{name}: {outcome.verdict} instead of {step.expected_verdict}. {outcome.reason}".rstrip(". ")
    elif step.expected_verdict == "rejected":
        yield from (f"{name}: {sentence}" for sentence in _unmet_of_error(outcome))
    else:
        yield from (f"{name}: {sentence}" for sentence in _unmet_of_result(outcome))


def _unmet_of_error(outcome: StepOutcome) -> Iterator[str]:
    step, error = outcome.step, outcome.error
    if error is None:
        yield "no message on the error topic"
        return
    if (error.status, error.error) != (str(step.expected_status), step.expected_error):
        expected = f"{step.expected_status} {step.expected_error}"
        yield f"the error topic has {error.status} {error.error} instead of {expected}"
    if error.attributes.get("tenant_id") != step.tenant_id:
        yield f"the error names the tenant {error.attributes.get('tenant_id')!r} instead of {step.tenant_id!r}"
    text = f"Model '{step.missing_model}' not found for tenant '{step.tenant_id}'"
    if step.expected_error == "model_not_found" and error.text != text:
        yield f"the error says {error.text!r} instead of {text!r}"
    if outcome.document is not None:
        yield "a result was written although the step was rejected"


def _unmet_of_result(outcome: StepOutcome) -> Iterator[str]:
    step, document = outcome.step, outcome.document
    if document is None or outcome.annotated is None:
        yield "no result.json" if document is None else "no annotated.jpg"
        return
    expected_values: dict[str, tuple[object, object]] = {
        "tenant": (document["tenant_id"], step.tenant_id),
        "models": (sorted(outcome.models), sorted(step.model_types)),
        "picture's size": (_size_wh(outcome.annotated), outcome.size_wh),
    }
    for model_type, model in outcome.models.items():
        expected_values[f"{model_type} model generation"] = (
            model["generation"],
            outcome.generations.get(model_type),
        )
        expected_values[f"{model_type} labels"] = tuple(model["labels"]), _labels(step.tenant_id, model_type)
    if outcome.comparison is not None and "classification" not in document:
        expected_values["counts"] = _present(document["counts"]), _present(outcome.comparison.detected)
    if step.pipeline:
        expected_values["pipeline"] = document["pipeline"], step.pipeline
    if outcome.submission.image_generation:
        expected_values["image generation"] = (
            str(document["image"]["generation"]),
            outcome.submission.image_generation,
        )
    if step.expected_verdict == "done":
        expected_values["event"] = (document["event_id"], outcome.event_id)
        expected_values["request_id"] = (document["request_id"], step.request_id)
    for name, (value, expected) in expected_values.items():
        if value != expected:
            yield f"{name}: {value!r} instead of {expected!r}"
    if step.expected_verdict == "duplicate" and document["event_id"] == outcome.event_id:
        yield "the result was written again"
    yield from _wrong_counts(outcome)


def _wrong_counts(outcome: StepOutcome) -> Iterator[str]:
    """Check the counts of an outcome that has beds: the total, and each bed."""
    if not outcome.beds or outcome.comparison is None:
        return
    counted, actual = (sum(counts.values()) for counts in (outcome.comparison.detected, outcome.comparison.actual))
    if abs(counted - actual) > MAX_COUNT_ERROR * actual:
        yield f"{counted} counted, {actual} actual"
    for bed in outcome.beds:
        if abs(bed.counted - bed.actual) > max(ALLOWED_BED_DIFFERENCE, MAX_BED_COUNT_ERROR * bed.actual):
            yield f"{bed.label}: {bed.counted} counted, {bed.actual} actual"


def _unmatched_tenants(outcomes: Sequence[StepOutcome]) -> Iterator[str]:
    """Check that each tenant's model matches enough objects of the tenant's own scenes."""
    for tenant_id in dict.fromkeys(outcome.step.tenant_id for outcome in outcomes):
        compared = total(a.comparison for a in outcomes if a.comparison and a.step.tenant_id == tenant_id)
        matched, actual = sum(compared.matched.values()), sum(compared.actual.values())
        if matched < MIN_MATCHED_SHARE * actual:
            yield f"{tenant_id}: only {matched} of {actual} objects were matched; was another model used?"


def _labels(tenant_id: str, model_type: str) -> tuple[str, ...]:
    tenant = TENANTS[tenant_id]
    return {"detect": tenant.labels, "segment": tenant.segment_labels, "classify": tenant.states}[model_type]


def _present(counts: Mapping[str, int]) -> dict[str, int]:
    return {label: count for label, count in counts.items() if count}


def _size_wh(picture: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(picture)) as image:
        return image.size
