"""The function is killed (SIGKILL) at every call of every scenario, before it or before its response arrives."""

from collections.abc import Iterator
from typing import Final

import pytest

from local.trigger import MESSAGE, UPLOAD
from testing.faulty_stack import FaultyStack, wait_until
from testing.scenario_runner import CALLS, FaultCase, ScenarioRunner, assert_ended_once

pytestmark = [pytest.mark.stack, pytest.mark.slow]

CALLS_WITH_EFFECTS: Final = ("write", "publish")
CASES: Final = [
    FaultCase(name, call, "stall", after)
    for after in (False, True)
    for name, call in CALLS
    if not after or call.startswith(CALLS_WITH_EFFECTS)
]


@pytest.fixture(scope="module")
def runner() -> Iterator[ScenarioRunner]:
    """All events wait at their call; then the functions are killed and started again."""
    with FaultyStack(targets=(UPLOAD, MESSAGE), settings={"MODEL_REFRESH_SECONDS": "0"}) as cloud:
        runner = ScenarioRunner(cloud)
        runner.start(CASES)
        faults = {str(case): runner.fault(case) for case in CASES}
        wait_until(
            lambda: all(fault.fired for fault in faults.values()),
            60,
            lambda: [name for name, fault in faults.items() if not fault.fired],
        )
        for target in (UPLOAD, MESSAGE):
            cloud.stack.kill_function(target)
        for target in (UPLOAD, MESSAGE):
            cloud.stack.start_function(target)
        yield runner


@pytest.mark.parametrize("case", CASES, ids=str)
def test_event_ends_once_if_the_function_is_killed_at_a_call(case: FaultCase, runner: ScenarioRunner) -> None:
    outcome = runner.outcome(case)

    assert outcome.fired == 1
    assert_ended_once(case, outcome, killed=True)
