"""A call always fails: the event is deferred, then after MAX_EVENT_AGE published and acknowledged, never lost."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

import pytest

from local.trigger import MESSAGE, UPLOAD
from testing.fault_plan import ALWAYS, Fault
from testing.faulty_stack import FaultyStack, wait_until
from testing.scenario_runner import CALLS, FaultCase, ScenarioRunner

pytestmark = [pytest.mark.stack, pytest.mark.slow]

DEADLINE_S, MAX_AGE_S = 2, 6
SETTINGS: Final = {
    "EVENT_DEADLINE_SECONDS": str(DEADLINE_S),
    "MAX_EVENT_AGE": str(MAX_AGE_S),
    "MODEL_REFRESH_SECONDS": "0",
}

# A cached file is used if its refresh fails, so these events need no response.
CACHED: Final = {("a second upload", "stat pipelines"), ("a second upload", "stat model")}
PUBLISHED: Final = [
    FaultCase(name, call, kind, count=ALWAYS, verdict="rejected")
    for name, call in CALLS
    for kind in (("503", "reset", "stall", "page") if name == "an upload" else ("503",))
    if call != "publish" and (name, call) not in CACHED
    if (call, kind) != ("read pipelines", "page")  # the second request gets storage's true answer: no such file
]
UNAFFECTED: Final = [
    *(FaultCase(name, call, "503", count=ALWAYS, verdict="done") for name, call in sorted(CACHED)),
    FaultCase("an upload", "write result", "reset", after=True, count=ALWAYS, verdict="duplicate"),
]
UNPUBLISHED: Final = [FaultCase("no model", "publish", kind, count=ALWAYS) for kind in ("UNAVAILABLE", "stall")]


@pytest.fixture(scope="module")
def cloud() -> Iterator[FaultyStack]:
    with FaultyStack(targets=(UPLOAD, MESSAGE), settings=SETTINGS) as cloud:
        yield cloud


@pytest.fixture(scope="module")
def runner(cloud: FaultyStack) -> ScenarioRunner:
    runner = ScenarioRunner(cloud)
    runner.start(PUBLISHED + UNAFFECTED + UNPUBLISHED)
    return runner


@pytest.mark.parametrize("case", PUBLISHED, ids=str)
def test_event_is_deferred_then_published_if_a_call_always_fails(case: FaultCase, runner: ScenarioRunner) -> None:
    outcome = runner.outcome(case)

    *before, last = outcome.verdicts
    assert outcome.fired >= 1
    assert (set(before), last) == ({"deferred"}, "rejected")
    assert {error["status"] for error in outcome.errors} <= {"503", "504"}
    assert {error["event_id"] for error in outcome.errors} == {outcome.summaries[-1]["event_id"]}
    assert len(outcome.errors) <= 1 + sum(line["error"] == "publish_failed" for line in outcome.summaries)


@pytest.mark.parametrize("case", UNAFFECTED, ids=str)
def test_event_ends_normally_if_it_needs_no_response(case: FaultCase, runner: ScenarioRunner) -> None:
    outcome = runner.outcome(case)

    assert outcome.fired >= 1
    assert (outcome.verdicts[-1], outcome.errors) == (case.verdict, [])
    assert outcome.result
    assert outcome.result["counts"] == {"plant": 1, "tray": 1}
    assert outcome.objects["annotated.jpg"] == outcome.objects["result.json"]


@pytest.mark.parametrize("case", UNPUBLISHED, ids=str)
def test_event_is_deferred_until_its_error_can_be_published(case: FaultCase, runner: ScenarioRunner) -> None:
    wait_until(lambda: len(runner.summaries(case)) > 2, 60, lambda: runner.summaries(case))
    fault = runner.fault(case)
    assert fault.fired > 1
    assert {line["error"] for line in runner.summaries(case)} == {"publish_failed"}

    fault.count = 0
    outcome = runner.outcome(case)

    assert (set(outcome.verdicts[:-1]), outcome.verdicts[-1]) == ({"deferred"}, "rejected")
    assert {error["status"] for error in outcome.errors} == {"400"}


@pytest.mark.parametrize("kind", ["stall", "reset", "503", "page"])
def test_event_is_deferred_within_its_deadline_if_storage_is_down(kind: str, cloud: FaultyStack) -> None:
    """The client alone would retry for 120 s; the caller here waits for five deadlines."""
    fault = cloud.storage_plan.add(Fault("", kind, f"dead-{kind}", count=ALWAYS))
    event = {"bucket": cloud.stack.names.upload_bucket, "name": f"uploads/dead-{kind}/a.jpg", "generation": "1"}
    headers = {
        "content-type": "application/json",
        "ce-type": "google.cloud.storage.object.v1.finalized",
        "ce-id": "1",
        "ce-time": datetime.now(UTC).isoformat(),
    }
    request = urllib.request.Request(cloud.stack.url(UPLOAD), json.dumps(event).encode(), headers)  # noqa: S310

    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(request, timeout=5 * DEADLINE_S)  # noqa: S310 - the stack's own address

    with raised.value:
        assert (raised.value.code, raised.value.read()) == (503, b"deferred\n")
    assert fault.fired >= 1
