"""Every call of every story fails once, or the function is killed just there: the event ends as ever, once."""

import pytest

from local.trigger import MESSAGE, UPLOAD
from tests.support.campaign import Campaign, Scenario
from tests.support.faulty_stack import FaultyStack, wait_until
from tests.support.stories import STORIES

pytestmark = [pytest.mark.stack, pytest.mark.slow]

BEFORE = {
    "read": ("408", "429", "500", "503", "reset", "truncated", "corrupted", "slow", "page"),
    "stat": ("408", "429", "500", "503", "reset", "truncated", "slow", "page"),
    "write": ("408", "429", "500", "503", "reset", "slow"),
    "publish": ("UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL", "RESOURCE_EXHAUSTED", "PERMISSION_DENIED"),
}
AFTER = {
    "write": ("503", "reset", "truncated", "page"),
    "publish": ("UNAVAILABLE", "PERMISSION_DENIED"),
}
ALL_KINDS_OF = {"an upload", "no model"}  # of the other stories' calls one fails in one way


def kinds(table, story, call):
    found = table.get(call.split()[0], ())
    return found if story in ALL_KINDS_OF or table is AFTER else found[3:4]


CALLS = [(story, call) for story in STORIES for call in STORIES[story].calls]
FAIL = [
    Scenario(story, call, kind, after)
    for table, after in ((BEFORE, False), (AFTER, True))
    for story, call in CALLS
    for kind in kinds(table, story, call)
]
KILLED = [
    Scenario(story, call, "stall", after)
    for after in (False, True)
    for story, call in CALLS
    if not after or call.split()[0] in AFTER
]
NOTHING_FAILS = [Scenario(story) for story in STORIES]


@pytest.fixture(scope="module")
def cloud():
    with FaultyStack(targets=(UPLOAD, MESSAGE), MODEL_REFRESH_SECONDS="0") as cloud:
        yield cloud


@pytest.fixture(scope="module")
def campaign(cloud):
    campaign = Campaign(cloud)
    campaign.begin(NOTHING_FAILS + FAIL)
    return campaign


@pytest.fixture(scope="module")
def killed(campaign, cloud):
    for scenario in FAIL:
        campaign.ending(scenario)
    campaign.begin(KILLED)
    faults = {str(each): campaign.fault(each) for each in KILLED}
    wait_until(
        lambda: all(fault.fired for fault in faults.values()),
        30,
        lambda: [name for name, fault in faults.items() if not fault.fired],
    )
    for target in (UPLOAD, MESSAGE):
        cloud.stack.kill_function(target)
    for target in (UPLOAD, MESSAGE):
        cloud.stack.start_function(target)
    return campaign


@pytest.mark.parametrize("scenario", NOTHING_FAILS, ids=lambda each: each.story)
def test_a_story_makes_these_calls_and_no_others(scenario, campaign):
    ending = campaign.ending(scenario)
    assert ending.calls == dict.fromkeys(STORIES[scenario.story].calls, 1)
    assert ending.verdicts == [STORIES[scenario.story].ends]
    check(scenario, ending)


@pytest.mark.parametrize("scenario", FAIL, ids=str)
def test_one_call_fails(scenario, campaign):
    ending = campaign.ending(scenario)
    assert ending.fired == 1
    check(scenario, ending)


@pytest.mark.parametrize("scenario", KILLED, ids=str)
def test_the_function_is_killed_at_a_call(scenario, killed):
    ending = killed.ending(scenario)
    assert ending.fired == 1
    check(scenario, ending)


def check(scenario, ending):
    """One result or one error message, and one delivery that was acknowledged."""
    *before, last = ending.verdicts
    assert set(before) <= {"deferred"}
    story = STORIES[scenario.story]
    answer_lost = scenario.after and scenario.operation == "write result"
    assert last == story.ends or (answer_lost and last == "duplicate")
    if story.status:
        assert (ending.result, ending.written) == (None, {})
        told_twice = scenario.after and scenario.operation == "publish"
        assert len(ending.errors) == (2 if told_twice else 1)
        assert {each["status"] for each in ending.errors} == {story.status}
        assert {each["event_id"] for each in ending.errors} == {ending.lines[-1]["event_id"]}
    else:
        assert ending.errors == []
        assert sorted(ending.written) == ["annotated.jpg", "result.json"]
        assert ending.written["annotated.jpg"] == ending.written["result.json"]
        assert ending.result["counts"] == dict(story.counts)
        assert ending.result["pipeline"] == dict(story.asks or ()).get("pipeline", "detect")
