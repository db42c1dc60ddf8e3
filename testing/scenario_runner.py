"""Many scenarios side by side on one faulty stack: a story, the call of it that fails, and how; a tenant each."""

import itertools
from dataclasses import dataclass, field

from local.trigger import UPLOAD
from testing.fault_plan import FOR_EVER, Fault
from testing.faulty_stack import ACKNOWLEDGED, wait_until
from testing.scenarios import PATH, STORIES

TIMEOUT_S = 60
CALLS = [(story, call) for story in STORIES for call in STORIES[story].calls]
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Scenario:
    """`operation` "": no call fails. `ends`: where that is not as the story has it."""

    story: str
    operation: str = ""
    kind: str = ""
    after: bool = False
    times: int = 1
    ends: str = ""

    def __str__(self):
        when = (" after" if self.after else "") + (" for ever" if self.times == FOR_EVER else "")
        return f"{self.story}, {self.operation}: {self.kind}{when}"

    @property
    def verdict(self):
        return self.ends or STORIES[self.story].ends


@dataclass(frozen=True)
class Ending:
    """What is there once an event is acknowledged. `lines`: the summary lines of its deliveries, in order."""

    lines: list
    errors: list
    result: dict | None
    written: dict
    calls: dict
    fired: int

    @property
    def verdicts(self):
        return [line["verdict"] for line in self.lines]


@dataclass
class _Run:
    tenant_id: str
    fault: Fault
    lines_before: int = 0
    calls_before: dict[str, int] = field(default_factory=dict)


class Campaign:
    """`begin` scenarios, then ask for the `ending` of each."""

    def __init__(self, cloud):
        self.cloud = cloud
        self._runs = {}

    def begin(self, scenarios):
        runs = {each: self._run(each) for each in scenarios}
        for each, run in runs.items():
            _story(each).prepare(self.cloud, run.tenant_id)
        self._wait(lambda: all(self._lines(UPLOAD, run) for each, run in runs.items() if _story(each).earlier))
        for each, run in runs.items():
            story = _story(each)
            run.lines_before = len(self._lines(story.function, run))
            run.calls_before = self._calls(run)
            if each.operation:
                plan = self.cloud.publish_faults if each.operation == "publish" else self.cloud.storage_faults
                plan.add(run.fault)
        for each, run in runs.items():
            _story(each).begin(self.cloud, run.tenant_id)
        self._runs |= runs

    def fault(self, scenario):
        return self._runs[scenario].fault

    def lines(self, scenario):
        """The summary lines of its event up to now."""
        run = self._runs[scenario]
        return self._lines(_story(scenario).function, run)[run.lines_before :]

    def ending(self, scenario):
        self._wait(lambda: any(line["verdict"] in ACKNOWLEDGED for line in self.lines(scenario)))
        run, lines = self._runs[scenario], self.lines(scenario)
        self._wait(lambda: len(self.cloud.errors[run.tenant_id]) == self.cloud.published(run.tenant_id))
        calls = {name: count - run.calls_before.get(name, 0) for name, count in self._calls(run).items()}
        return Ending(
            lines,
            list(self.cloud.errors[run.tenant_id]),
            self.cloud.result(run.tenant_id, PATH),
            self.cloud.written_for(run.tenant_id, PATH),
            {name: count for name, count in calls.items() if count},
            run.fault.fired,
        )

    def _run(self, scenario):
        tenant_id = f"tenant-{next(_numbers):03}"
        return _Run(tenant_id, Fault(scenario.operation, scenario.kind, tenant_id, scenario.times, scenario.after))

    def _lines(self, target, run):
        return self.cloud.summaries((target,))[run.tenant_id]

    def _calls(self, run):
        about = run.tenant_id
        return self.cloud.storage_faults.calls_about(about) | self.cloud.publish_faults.calls_about(about)

    def _wait(self, holds):
        wait_until(holds, TIMEOUT_S, lambda: "\n".join(map(str, self.cloud.stack.log_lines(UPLOAD)[-5:])))


def _story(scenario):
    return STORIES[scenario.story]


def ends_once(scenario, ending, *, killed=False):
    """One result or one error message; acknowledged once, as a duplicate if it was written by then."""
    *before, last = ending.verdicts
    assert set(before) <= {"deferred"}
    story = STORIES[scenario.story]
    may_be_written = killed or (scenario.after and scenario.operation == "write result")
    assert last == story.ends or (story.ends == "done" and may_be_written and last == "duplicate")
    if story.status:
        assert (ending.result, ending.written) == (None, {})
        told_in_vain = scenario.after and scenario.operation == "publish"
        at_most = 1 + told_in_vain + sum(line.get("error") == "publish_failed" for line in ending.lines)
        assert 1 + told_in_vain <= len(ending.errors) <= at_most
        assert {each["status"] for each in ending.errors} == {story.status}
        assert {each["event_id"] for each in ending.errors} == {ending.lines[-1]["event_id"]}
    else:
        assert ending.errors == []
        assert sorted(ending.written) == ["annotated.jpg", "result.json"]
        assert ending.written["annotated.jpg"] == ending.written["result.json"]
        assert ending.result["counts"] == dict(story.counts)
        assert ending.result["pipeline"] == dict(story.asks or ()).get("pipeline", "detect")
