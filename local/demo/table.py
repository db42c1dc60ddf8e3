"""The answers as a table of plain text, and the error messages under it. Pure."""

from collections.abc import Sequence

from local.demo.answer import Answer
from local.text_table import format_table

HEADS = ("image", "tenant", "asked by", "model generation", "verdict", "found / there", "matched", "ms")
RIGHT = {"matched", "ms"}
NOTHING = "-"


def table(answers: Sequence[Answer]) -> str:
    rows = [HEADS, *(_row(answer) for answer in answers)]
    return format_table(rows, "".join(">" if head in RIGHT else "<" for head in HEADS), rule=True)


def beds(answers: Sequence[Answer]) -> str:
    """Found and there in each bed, a line for each answer that counted."""
    return "\n".join(
        f"{answer.ask.tenant_id} {answer.ask.path}: "
        + ", ".join(f"{bed.label} {bed.found}/{bed.there}" for bed in answer.beds)
        for answer in answers
        if answer.beds
    )


def errors(answers: Sequence[Answer]) -> str:
    """Status, name and sentence, as read back from the error topic."""
    return "\n".join(
        f"{answer.error.status} {answer.error.error}: {answer.error.sentence}"
        for answer in answers
        if answer.error
    )


def _row(answer: Answer) -> tuple[str, ...]:
    return (
        answer.ask.path,
        answer.ask.tenant_id,
        f"{answer.ask.by} {answer.ask.pipeline}".rstrip(),
        str(answer.model.get("generation", NOTHING)),
        answer.verdict or "none",
        _counts(answer),
        _matched(answer),
        NOTHING if answer.total_ms is None else f"{answer.total_ms:.0f}",
    )


def _counts(answer: Answer) -> str:
    seen = answer.comparison
    if seen is None:
        return NOTHING
    return ", ".join(f"{label} {seen.found.get(label, 0)}/{seen.there.get(label, 0)}" for label in seen.labels)


def _matched(answer: Answer) -> str:
    return NOTHING if answer.comparison is None else str(sum(answer.comparison.matched.values()))
