"""Says what is missing between what the plan promised and what came. Pure; it fetches nothing."""

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from PIL import Image

from local.demo.answer import Answer
from local.demo.comparison import total
from samples.scenes import TENANTS

LEAST_MATCHED: Final = 0.5  # of what is really there: not a figure, but less would mean the wrong model
MOST_OFF: Final = 0.05  # of a count: found more or less than is there
MOST_OFF_IN_A_BED: Final = 0.1
LEAST_OFF: Final = 3  # what grows at the edges of the picture and of the bed: in a small bed a large share


def missing(answers: Sequence[Answer]) -> list[str]:
    """A sentence for each thing that did not happen; none means that all of it did."""
    return [sentence for answer in answers for sentence in _missing_of(answer)] + [*_unseen(answers)]


def _missing_of(answer: Answer) -> Iterator[str]:
    ask = answer.ask
    name = f"{ask.tenant_id} {ask.path} (by {ask.by})"
    if not answer.verdict:
        yield f"{name}: no verdict in time"
    elif answer.verdict != ask.verdict:
        yield f"{name}: {answer.verdict} instead of {ask.verdict}. {answer.reason}".rstrip(". ")
    elif ask.verdict == "rejected":
        yield from (f"{name}: {what}" for what in _missing_of_error(answer))
    else:
        yield from (f"{name}: {what}" for what in _missing_of_result(answer))


def _missing_of_error(answer: Answer) -> Iterator[str]:
    ask, error = answer.ask, answer.error
    if error is None:
        yield "nothing on the error topic"
        return
    if (error.status, error.error) != (str(ask.status), ask.error):
        yield f"the error topic says {error.status} {error.error} instead of {ask.status} {ask.error}"
    if error.attributes.get("tenant_id") != ask.tenant_id:
        yield f"the error names the tenant {error.attributes.get('tenant_id')!r}"
    sentence = f"Model '{ask.lacks}' not found for tenant '{ask.tenant_id}'"
    if ask.error == "model_not_found" and error.sentence != sentence:
        yield f"the error says {error.sentence!r} instead of {sentence!r}"
    if answer.document is not None:
        yield "there is a result of what was rejected"


def _missing_of_result(answer: Answer) -> Iterator[str]:
    ask, document = answer.ask, answer.document
    if document is None or answer.annotated is None:
        yield "no result.json" if document is None else "no annotated.jpg"
        return
    promised: dict[str, tuple[object, object]] = {
        "tenant": (document["tenant_id"], ask.tenant_id),
        "models": (sorted(answer.models), sorted(ask.models)),
        "picture's size": (_size_wh(answer.annotated), answer.size_wh),
    }
    for model_type, model in answer.models.items():
        promised[f"{model_type} model generation"] = model["generation"], answer.generations.get(model_type)
        promised[f"{model_type} labels"] = tuple(model["labels"]), _labels(ask.tenant_id, model_type)
    if answer.comparison is not None and "classification" not in document:
        promised["counts"] = _present(document["counts"]), _present(answer.comparison.found)
    if ask.pipeline:
        promised["pipeline"] = document["pipeline"], ask.pipeline
    if answer.sent.image_generation:
        promised["image generation"] = (str(document["image"]["generation"]), answer.sent.image_generation)
    if ask.verdict == "done":
        promised["event"] = (document["event_id"], answer.event_id)
        promised["request_id"] = (document["request_id"], ask.request_id)
    for what, (came, expected) in promised.items():
        if came != expected:
            yield f"{what}: {came!r} instead of {expected!r}"
    if ask.verdict == "duplicate" and document["event_id"] == answer.event_id:
        yield "the result was written anew"
    yield from _miscounted(answer)


def _miscounted(answer: Answer) -> Iterator[str]:
    """Where it counted in beds: the total, and each bed."""
    if not answer.beds or answer.comparison is None:
        return
    found, there = (sum(counts.values()) for counts in (answer.comparison.found, answer.comparison.there))
    if abs(found - there) > MOST_OFF * there:
        yield f"{found} counted, {there} there"
    for bed in answer.beds:
        if abs(bed.found - bed.there) > max(LEAST_OFF, MOST_OFF_IN_A_BED * bed.there):
            yield f"{bed.label}: {bed.found} counted, {bed.there} there"


def _unseen(answers: Sequence[Answer]) -> Iterator[str]:
    """Whether each tenant's model sees its own world."""
    for tenant_id in dict.fromkeys(answer.ask.tenant_id for answer in answers):
        seen = total(a.comparison for a in answers if a.comparison and a.ask.tenant_id == tenant_id)
        matched, there = sum(seen.matched.values()), sum(seen.there.values())
        if matched < LEAST_MATCHED * there:
            yield f"{tenant_id}: {matched} of {there} found where they are: is this its model?"


def _labels(tenant_id: str, model_type: str) -> tuple[str, ...]:
    tenant = TENANTS[tenant_id]
    return {"detect": tenant.labels, "segment": tenant.segment_labels, "classify": tenant.states}[model_type]


def _present(counts: Mapping[str, int]) -> dict[str, int]:
    return {label: count for label, count in counts.items() if count}


def _size_wh(picture: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(picture)) as image:
        return image.size
