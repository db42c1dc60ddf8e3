"""Runs many scenarios side by side on one faulty stack, each with a tenant of its own and a fault in one call."""

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from local.trigger import UPLOAD
from testing.fault_plan import ALWAYS, Fault
from testing.faulty_stack import ACKNOWLEDGED, Document, FaultyStack, wait_until
from testing.scenarios import PATH, SCENARIOS, Scenario

TIMEOUT_S: Final = 60
CALLS: Final = [(name, call) for name, scenario in SCENARIOS.items() for call in scenario.calls]
_tenant_numbers = itertools.count(1)


@dataclass(frozen=True)
class FaultCase:
    """A scenario by name, and the call of it that fails; with no `operation` none does.

    `verdict` is expected in place of the scenario's own.
    """

    scenario_name: str
    operation: str = ""
    kind: str = ""
    after: bool = False
    count: int = 1
    verdict: str = ""

    def __str__(self) -> str:
        suffix = (" after" if self.after else "") + (" always" if self.count == ALWAYS else "")
        return f"{self.scenario_name}, {self.operation}: {self.kind}{suffix}"

    @property
    def scenario(self) -> Scenario:
        return SCENARIOS[self.scenario_name]


@dataclass(frozen=True)
class Outcome:
    """What exists once an event is acknowledged. `summaries` are the log lines of its deliveries, in order."""

    summaries: list[Document]
    errors: list[dict[str, str]]
    result: Document | None
    objects: dict[str, dict[str, str]]
    calls: dict[str, int]
    fired: int

    @property
    def verdicts(self) -> list[str]:
        return [line["verdict"] for line in self.summaries]


@dataclass
class _Run:
    tenant_id: str
    fault: Fault
    summaries_before: int = 0
    calls_before: dict[str, int] = field(default_factory=dict)


class ScenarioRunner:
    """`start` cases, then ask for the `outcome` of each."""

    def __init__(self, cloud: FaultyStack) -> None:
        self.cloud = cloud
        self._runs: dict[FaultCase, _Run] = {}

    def start(self, cases: Iterable[FaultCase]) -> None:
        runs = {case: _new_run(case) for case in cases}
        for case, run in runs.items():
            case.scenario.prepare(self.cloud, run.tenant_id)
        following = [run for case, run in runs.items() if case.scenario.follows_upload]
        self._wait(lambda: all(self._summaries(UPLOAD, run) for run in following))
        for case, run in runs.items():
            run.summaries_before = len(self._summaries(case.scenario.function, run))
            run.calls_before = self._calls(run)
            if case.operation:
                plan = self.cloud.publish_plan if case.operation == "publish" else self.cloud.storage_plan
                plan.add(run.fault)
        for case, run in runs.items():
            case.scenario.trigger(self.cloud, run.tenant_id)
        self._runs |= runs

    def fault(self, case: FaultCase) -> Fault:
        return self._runs[case].fault

    def summaries(self, case: FaultCase) -> list[Document]:
        """Return the summary lines of the event so far."""
        run = self._runs[case]
        return self._summaries(case.scenario.function, run)[run.summaries_before :]

    def outcome(self, case: FaultCase) -> Outcome:
        """Wait until the event is acknowledged and its errors have arrived."""
        self._wait(lambda: any(line["verdict"] in ACKNOWLEDGED for line in self.summaries(case)))
        run, summaries = self._runs[case], self.summaries(case)
        self._wait(lambda: len(self.cloud.errors[run.tenant_id]) == self.cloud.published(run.tenant_id))
        calls = {name: count - run.calls_before.get(name, 0) for name, count in self._calls(run).items()}
        return Outcome(
            summaries,
            list(self.cloud.errors[run.tenant_id]),
            self.cloud.result(run.tenant_id, PATH),
            self.cloud.result_objects(run.tenant_id, PATH),
            {name: count for name, count in calls.items() if count},
            run.fault.fired,
        )

    def _summaries(self, target: str, run: _Run) -> list[Document]:
        return self.cloud.summaries((target,))[run.tenant_id]

    def _calls(self, run: _Run) -> dict[str, int]:
        storage, publish = self.cloud.storage_plan, self.cloud.publish_plan
        return storage.calls_for(run.tenant_id) | publish.calls_for(run.tenant_id)

    def _wait(self, condition: Callable[[], bool]) -> None:
        wait_until(condition, TIMEOUT_S, lambda: "\n".join(map(str, self.cloud.stack.log_lines(UPLOAD)[-5:])))


def _new_run(case: FaultCase) -> _Run:
    tenant_id = f"tenant-{next(_tenant_numbers):03}"
    return _Run(tenant_id, Fault(case.operation, case.kind, tenant_id, case.count, case.after))


def assert_ended_once(case: FaultCase, outcome: Outcome, *, killed: bool = False) -> None:
    """Check that there is one result or one error message, and one acknowledgement.

    The acknowledged delivery is a duplicate if the result was written before the call failed.
    """
    *before, last = outcome.verdicts
    assert set(before) <= {"deferred"}
    scenario = case.scenario
    may_be_written = killed or (case.after and case.operation == "write result")
    assert last == scenario.verdict or (scenario.verdict == "done" and may_be_written and last == "duplicate")
    if scenario.status:
        _assert_published(case, outcome)
    else:
        assert outcome.errors == []
        assert sorted(outcome.objects) == ["annotated.jpg", "result.json"]
        assert outcome.objects["annotated.jpg"] == outcome.objects["result.json"]
        assert outcome.result
        assert outcome.result["counts"] == dict(scenario.counts)
        assert outcome.result["pipeline"] == scenario.pipeline


def _assert_published(case: FaultCase, outcome: Outcome) -> None:
    assert (outcome.result, outcome.objects) == (None, {})
    lost_response = case.after and case.operation == "publish"
    max_errors = 1 + lost_response + sum(line.get("error") == "publish_failed" for line in outcome.summaries)
    assert 1 + lost_response <= len(outcome.errors) <= max_errors
    assert {error["status"] for error in outcome.errors} == {case.scenario.status}
    assert {error["event_id"] for error in outcome.errors} == {outcome.summaries[-1]["event_id"]}
