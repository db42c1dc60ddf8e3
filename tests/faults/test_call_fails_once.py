"""Every call of every scenario fails once, in every way: the event still ends normally, once."""

from collections.abc import Iterator, Mapping
from typing import Final

import pytest

from local.trigger import MESSAGE, UPLOAD
from testing.faulty_stack import FaultyStack
from testing.scenario_runner import CALLS, FaultCase, ScenarioRunner, assert_ended_once

pytestmark = [pytest.mark.stack, pytest.mark.slow]

Kinds = Mapping[str, tuple[str, ...]]

BEFORE: Final[Kinds] = {
    "read": ("408", "429", "500", "503", "reset", "stall", "truncated", "corrupted", "slow", "page"),
    "stat": ("408", "429", "500", "503", "reset", "stall", "truncated", "slow", "page"),
    "write": ("408", "429", "500", "503", "reset", "stall", "slow"),
    "publish": (
        "UNAVAILABLE",
        "DEADLINE_EXCEEDED",
        "INTERNAL",
        "RESOURCE_EXHAUSTED",
        "PERMISSION_DENIED",
        "stall",
    ),
}
AFTER: Final[Kinds] = {
    "write": ("503", "reset", "stall", "truncated", "page"),
    "publish": ("UNAVAILABLE", "PERMISSION_DENIED", "stall"),
}
SETTINGS: Final = {"MODEL_REFRESH_SECONDS": "0", "EVENT_DEADLINE_SECONDS": "6"}
WITH_ALL_KINDS: Final = {"an upload", "no model"}  # in the other scenarios a call fails in one way


def kinds_of_faults(table: Kinds, scenario_name: str, call: str) -> tuple[str, ...]:
    kinds = table.get(call.split(maxsplit=1)[0], ())
    return kinds if scenario_name in WITH_ALL_KINDS or table is AFTER else kinds[3:4]


CASES: Final = [
    FaultCase(name, call, kind, after)
    for table, after in ((BEFORE, False), (AFTER, True))
    for name, call in CALLS
    for kind in kinds_of_faults(table, name, call)
]


@pytest.fixture(scope="module")
def runner() -> Iterator[ScenarioRunner]:
    with FaultyStack(targets=(UPLOAD, MESSAGE), settings=SETTINGS) as cloud:
        runner = ScenarioRunner(cloud)
        runner.start(CASES)
        yield runner


@pytest.mark.parametrize("case", CASES, ids=str)
def test_event_ends_once_if_a_call_fails_once(case: FaultCase, runner: ScenarioRunner) -> None:
    outcome = runner.outcome(case)

    assert outcome.fired == 1
    reads_an_object = case.operation == "read image" or (case.scenario_name, case.operation) == (
        "an upload",
        "read model",
    )
    if (
        case.kind == "corrupted" and reads_an_object
    ):  # a damaged file may still decode as an image, or load as a model
        assert outcome.verdicts[0] == "deferred"
    assert_ended_once(case, outcome)
