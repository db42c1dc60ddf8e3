"""The scenarios name every call that their events make, so that each call has its tests with faults."""

from collections.abc import Iterator
from typing import Final

import pytest

from local.trigger import MESSAGE, UPLOAD
from testing.faulty_stack import FaultyStack
from testing.scenario_runner import FaultCase, ScenarioRunner, assert_ended_once
from testing.scenarios import SCENARIOS

pytestmark = [pytest.mark.stack, pytest.mark.slow]

WITHOUT_FAULTS: Final = [FaultCase(name) for name in SCENARIOS]


@pytest.fixture(scope="module")
def runner() -> Iterator[ScenarioRunner]:
    with FaultyStack(targets=(UPLOAD, MESSAGE), settings={"MODEL_REFRESH_SECONDS": "0"}) as cloud:
        runner = ScenarioRunner(cloud)
        runner.start(WITHOUT_FAULTS)
        yield runner


@pytest.mark.parametrize("case", WITHOUT_FAULTS, ids=lambda case: case.scenario_name)
def test_scenario_makes_exactly_its_calls(case: FaultCase, runner: ScenarioRunner) -> None:
    outcome = runner.outcome(case)

    assert outcome.calls == dict.fromkeys(case.scenario.calls, 1)
    assert outcome.verdicts == [case.scenario.verdict]
    assert_ended_once(case, outcome)
