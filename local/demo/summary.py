"""Summarise the outcomes as plain text: a table, the counts of each bed, and the error messages."""

from collections.abc import Sequence

from local.demo.step_outcome import StepOutcome
from local.text_table import format_table

HEADS = ("image", "tenant", "channel", "model generation", "verdict", "detected / actual", "matched", "ms")
RIGHT_ALIGNED_HEADS = {"matched", "ms"}
NO_VALUE = "-"


def outcome_table(outcomes: Sequence[StepOutcome]) -> str:
    """Return a table with a row for each outcome."""
    rows = [HEADS, *(_row(outcome) for outcome in outcomes)]
    return format_table(rows, "".join(">" if head in RIGHT_ALIGNED_HEADS else "<" for head in HEADS), rule=True)


def bed_lines(outcomes: Sequence[StepOutcome]) -> str:
    """Return the counted and actual objects of each bed, a line for each outcome that has beds."""
    return "\n".join(
        f"{outcome.step.tenant_id} {outcome.step.path}: "
        + ", ".join(f"{bed.label} {bed.counted}/{bed.actual}" for bed in outcome.beds)
        for outcome in outcomes
        if outcome.beds
    )


def error_lines(outcomes: Sequence[StepOutcome]) -> str:
    """Return the status, the error code and the text of each message on the error topic."""
    return "\n".join(
        f"{outcome.error.status} {outcome.error.error}: {outcome.error.text}"
        for outcome in outcomes
        if outcome.error
    )


def _row(outcome: StepOutcome) -> tuple[str, ...]:
    return (
        outcome.step.path,
        outcome.step.tenant_id,
        f"{outcome.step.channel} {outcome.step.pipeline}".rstrip(),
        str(outcome.compared_model.get("generation", NO_VALUE)),
        outcome.verdict or "none",
        _counts(outcome),
        _matched(outcome),
        NO_VALUE if outcome.total_ms is None else f"{outcome.total_ms:.0f}",
    )


def _counts(outcome: StepOutcome) -> str:
    comparison = outcome.comparison
    if comparison is None:
        return NO_VALUE
    return ", ".join(
        f"{label} {comparison.detected.get(label, 0)}/{comparison.actual.get(label, 0)}"
        for label in comparison.labels
    )


def _matched(outcome: StepOutcome) -> str:
    return NO_VALUE if outcome.comparison is None else str(sum(outcome.comparison.matched.values()))
