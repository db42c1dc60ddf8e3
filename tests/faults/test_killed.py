"""The function is killed (SIGKILL) at every call of every story, before it or with its answer on the way."""

import pytest

from local.trigger import MESSAGE, UPLOAD
from testing.faulty_stack import FaultyStack, wait_until
from testing.scenario_runner import CALLS, Campaign, Scenario, ends_once

pytestmark = [pytest.mark.stack, pytest.mark.slow]

CHANGE_SOMETHING = ("write", "publish")
SCENARIOS = [
    Scenario(story, call, "stall", after)
    for after in (False, True)
    for story, call in CALLS
    if not after or call.startswith(CHANGE_SOMETHING)
]


@pytest.fixture(scope="module")
def campaign():
    """All wait at their call, and then the functions are killed."""
    with FaultyStack(targets=(UPLOAD, MESSAGE), MODEL_REFRESH_SECONDS="0") as cloud:
        campaign = Campaign(cloud)
        campaign.begin(SCENARIOS)
        faults = {str(each): campaign.fault(each) for each in SCENARIOS}
        wait_until(
            lambda: all(fault.fired for fault in faults.values()),
            60,
            lambda: [name for name, fault in faults.items() if not fault.fired],
        )
        for target in (UPLOAD, MESSAGE):
            cloud.stack.kill_function(target)
        for target in (UPLOAD, MESSAGE):
            cloud.stack.start_function(target)
        yield campaign


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_the_function_is_killed_at_a_call(scenario, campaign):
    ending = campaign.ending(scenario)
    assert ending.fired == 1
    ends_once(scenario, ending, killed=True)
