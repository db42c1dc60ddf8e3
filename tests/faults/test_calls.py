"""The calls of each story are all there are: a call that is new has no test here before it is named."""

import pytest

from local.trigger import MESSAGE, UPLOAD
from testing.faulty_stack import FaultyStack
from testing.scenario_runner import Campaign, Scenario, ends_once
from testing.scenarios import STORIES

pytestmark = [pytest.mark.stack, pytest.mark.slow]

NOTHING_FAILS = [Scenario(story) for story in STORIES]


@pytest.fixture(scope="module")
def campaign():
    with FaultyStack(targets=(UPLOAD, MESSAGE), MODEL_REFRESH_SECONDS="0") as cloud:
        campaign = Campaign(cloud)
        campaign.begin(NOTHING_FAILS)
        yield campaign


@pytest.mark.parametrize("scenario", NOTHING_FAILS, ids=lambda each: each.story)
def test_a_story_makes_these_calls_and_no_others(scenario, campaign):
    ending = campaign.ending(scenario)
    assert ending.calls == dict.fromkeys(STORIES[scenario.story].calls, 1)
    assert ending.verdicts == [STORIES[scenario.story].ends]
    ends_once(scenario, ending)
