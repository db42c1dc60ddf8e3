"""Declare the type of the fixtures that make step outcomes."""

from typing import Any, Protocol

from local.demo.plan import Step
from local.demo.step_outcome import StepOutcome


class MakeOutcome(Protocol):
    """Makes an outcome that meets all expectations, except for the fields given."""

    def __call__(self, step: Step | None = None, **fields: Any) -> StepOutcome: ...
