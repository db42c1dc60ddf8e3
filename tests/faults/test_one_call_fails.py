"""Every call of every story fails once: the event ends as ever, once."""

import pytest

from local.trigger import MESSAGE, UPLOAD
from testing.faulty_stack import FaultyStack
from testing.scenario_runner import CALLS, Campaign, Scenario, ends_once

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


@pytest.fixture(scope="module")
def cloud():
    with FaultyStack(targets=(UPLOAD, MESSAGE), MODEL_REFRESH_SECONDS="0", EVENT_DEADLINE_SECONDS="6") as cloud:
        yield cloud


@pytest.fixture(scope="module")
def campaign(cloud):
    campaign = Campaign(cloud)
    campaign.begin(FAIL)
    return campaign


@pytest.mark.parametrize("scenario", FAIL, ids=str)
def test_one_call_fails(scenario, campaign):
    ending = campaign.ending(scenario)
    assert ending.fired == 1
    is_there = scenario.operation == "read image" or (scenario.story, scenario.operation) == (
        "an upload",
        "read model",
    )
    if scenario.kind == "corrupted" and is_there:  # what is damaged may still be a picture, or a model
        assert ending.verdicts[0] == "deferred"
    ends_once(scenario, ending)
