"""A call fails again and again: deferred, and past MAX_EVENT_AGE published and acknowledged; never lost."""

import json
import urllib.error
import urllib.request
from datetime import UTC, datetime

import pytest

from local.trigger import MESSAGE, UPLOAD
from testing.fault_plan import FOR_EVER, Fault
from testing.faulty_stack import FaultyStack, wait_until
from testing.scenario_runner import CALLS, Campaign, Scenario

pytestmark = [pytest.mark.stack, pytest.mark.slow]

DEADLINE_S, MAX_AGE_S = 2, 6

# What is held already stands in for a file that cannot be asked about: a failed refresh keeps it.
HELD = {("a second upload", "stat pipelines"), ("a second upload", "stat model")}
PUBLISHED = [
    Scenario(story, call, kind, times=FOR_EVER, ends="rejected")
    for story, call in CALLS
    for kind in (("503", "reset", "stall", "page") if story == "an upload" else ("503",))
    if call != "publish" and (story, call) not in HELD
    if (call, kind) != ("read pipelines", "page")  # asked once more, storage says truly that there is no such file
]
ENDS_AS_EVER = [
    *(Scenario(story, call, "503", times=FOR_EVER, ends="done") for story, call in sorted(HELD)),
    Scenario("an upload", "write result", "reset", after=True, times=FOR_EVER, ends="duplicate"),
]
UNPUBLISHED = [Scenario("no model", "publish", kind, times=FOR_EVER) for kind in ("UNAVAILABLE", "stall")]


@pytest.fixture(scope="module")
def cloud():
    settings = {"EVENT_DEADLINE_SECONDS": str(DEADLINE_S), "MAX_EVENT_AGE": str(MAX_AGE_S)}
    with FaultyStack(targets=(UPLOAD, MESSAGE), MODEL_REFRESH_SECONDS="0", **settings) as cloud:
        yield cloud


@pytest.fixture(scope="module")
def campaign(cloud):
    campaign = Campaign(cloud)
    campaign.begin(PUBLISHED + ENDS_AS_EVER + UNPUBLISHED)
    return campaign


@pytest.mark.parametrize("scenario", PUBLISHED, ids=str)
def test_an_event_that_cannot_be_served_is_deferred_and_then_published(scenario, campaign):
    ending = campaign.ending(scenario)
    assert ending.fired >= 1
    *before, last = ending.verdicts
    assert (set(before), last) == ({"deferred"}, "rejected")
    assert {error["status"] for error in ending.errors} <= {"503", "504"}
    assert {error["event_id"] for error in ending.errors} == {ending.lines[-1]["event_id"]}
    assert len(ending.errors) <= 1 + sum(line["error"] == "publish_failed" for line in ending.lines)


@pytest.mark.parametrize("scenario", ENDS_AS_EVER, ids=str)
def test_an_event_that_needs_no_answer_of_it_ends_as_ever(scenario, campaign):
    ending = campaign.ending(scenario)
    assert ending.fired >= 1
    assert (ending.verdicts[-1], ending.errors) == (scenario.ends, [])
    assert ending.result["counts"] == {"plant": 1, "tray": 1}
    assert ending.written["annotated.jpg"] == ending.written["result.json"]


@pytest.mark.parametrize("scenario", UNPUBLISHED, ids=str)
def test_an_error_that_cannot_be_published_waits_until_it_can(scenario, campaign):
    wait_until(lambda: len(campaign.lines(scenario)) > 2, 60, lambda: campaign.lines(scenario))
    fault = campaign.fault(scenario)
    assert fault.fired > 1
    assert {line["error"] for line in campaign.lines(scenario)} == {"publish_failed"}
    fault.times = 0
    ending = campaign.ending(scenario)
    assert (set(ending.verdicts[:-1]), ending.verdicts[-1]) == ({"deferred"}, "rejected")
    assert {each["status"] for each in ending.errors} == {"400"}


@pytest.mark.parametrize("kind", ["stall", "reset", "503", "page"])
def test_with_storage_dead_an_event_is_deferred_within_the_handlers_deadline(kind, cloud):
    """Not after the 120 s that the client would go on for: who asks waits for five deadlines at most."""
    fault = cloud.storage_faults.add(Fault("", kind, f"dead-{kind}", times=FOR_EVER))
    event = {"bucket": cloud.stack.names.upload_bucket, "name": f"uploads/dead-{kind}/a.jpg", "generation": "1"}
    headers = {
        "content-type": "application/json",
        "ce-type": "google.cloud.storage.object.v1.finalized",
        "ce-id": "1",
        "ce-time": datetime.now(UTC).isoformat(),
    }
    request = urllib.request.Request(cloud.stack.url(UPLOAD), json.dumps(event).encode(), headers)  # noqa: S310
    with pytest.raises(urllib.error.HTTPError) as answer:
        urllib.request.urlopen(request, timeout=5 * DEADLINE_S)  # noqa: S310 - the stack's own address
    with answer.value:
        assert (answer.value.code, answer.value.read()) == (503, b"deferred\n")
    assert fault.fired >= 1
