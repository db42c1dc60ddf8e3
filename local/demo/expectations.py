"""Says what is missing between what the plan promised and what came. Pure; it fetches nothing."""

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from PIL import Image

from examples.scenes import TENANTS
from local.demo.answer import Answer
from local.demo.comparison import total

LEAST_MATCHED: Final = 0.5  # of what is really there: not a figure, but less would mean the wrong model


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
    sentence = f"Model 'detect' not found for tenant '{ask.tenant_id}'"
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
        "model generation": (answer.model.get("generation"), answer.model_generation),
        "labels": (tuple(answer.model.get("labels", ())), TENANTS[ask.tenant_id].labels),
        "picture's size": (_size_wh(answer.annotated), answer.size_wh),
        "counts": (_present(document["counts"]), _present(answer.comparison.found if answer.comparison else {})),
    }
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


def _unseen(answers: Sequence[Answer]) -> Iterator[str]:
    """Whether each tenant's model sees its own world."""
    for tenant_id in dict.fromkeys(answer.ask.tenant_id for answer in answers):
        seen = total(a.comparison for a in answers if a.comparison and a.ask.tenant_id == tenant_id)
        matched, there = sum(seen.matched.values()), sum(seen.there.values())
        if matched < LEAST_MATCHED * there:
            yield f"{tenant_id}: {matched} of {there} found where they are: is this its model?"


def _present(counts: Mapping[str, int]) -> dict[str, int]:
    return {label: count for label, count in counts.items() if count}


def _size_wh(picture: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(picture)) as image:
        return image.size
