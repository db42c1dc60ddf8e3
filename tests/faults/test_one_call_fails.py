"""Every call of every story fails once: the event ends as ever, once."""

import pytest

from local.trigger import MESSAGE, UPLOAD
from tests.support.campaign import CALLS, Campaign, Scenario, ends_once
from tests.support.faulty_stack import FaultyStack
from tests.support.stories import STORIES

pytestmark = [pytest.mark.stack, pytest.mark.slow]

BEFORE = {
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
AFTER = {
    "write": ("503", "reset", "stall", "truncated", "page"),
    "publish": ("UNAVAILABLE", "PERMISSION_DENIED", "stall"),
}
ALL_KINDS_OF = {"an upload", "no model"}  # of the other stories' calls one fails in one way


def kinds(table, story, call):
    found = table.get(call.split()[0], ())
    return found if story in ALL_KINDS_OF or table is AFTER else found[3:4]


FAIL = [
    Scenario(story, call, kind, after)
    for table, after in ((BEFORE, False), (AFTER, True))
    for story, call in CALLS
    for kind in kinds(table, story, call)
]
NOTHING_FAILS = [Scenario(story) for story in STORIES]


@pytest.fixture(scope="module")
def cloud():
    with FaultyStack(targets=(UPLOAD, MESSAGE), MODEL_REFRESH_SECONDS="0", EVENT_DEADLINE_SECONDS="6") as cloud:
        yield cloud


@pytest.fixture(scope="module")
def campaign(cloud):
    campaign = Campaign(cloud)
    campaign.begin(NOTHING_FAILS + FAIL)
    return campaign


@pytest.mark.parametrize("scenario", NOTHING_FAILS, ids=lambda each: each.story)
def test_a_story_makes_these_calls_and_no_others(scenario, campaign):
    ending = campaign.ending(scenario)
    assert ending.calls == dict.fromkeys(STORIES[scenario.story].calls, 1)
    assert ending.verdicts == [STORIES[scenario.story].ends]
    ends_once(scenario, ending)


@pytest.mark.parametrize("scenario", FAIL, ids=str)
def test_one_call_fails(scenario, campaign):
    ending = campaign.ending(scenario)
    assert ending.fired == 1
    ends_once(scenario, ending)
