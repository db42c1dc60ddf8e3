"""A short soak: all faults at once. `python -m benchmarks soak` is the long form."""

import pytest

from testing.soak import SoakPlan, soak

pytestmark = [pytest.mark.stack, pytest.mark.slow]


def test_soak_loses_nothing_and_does_nothing_twice() -> None:
    plan = SoakPlan(uploads=60, kills=2, calm=0, storage_rate=0.05, publish_rate=0.2, deadline_s=2)

    report = soak(plan)

    assert (report.findings.lost, report.findings.duplicated, report.dead_letters) == ([], [], 0)
    assert report.events > report.uploads == 60
    assert report.kills == 2
    assert sum(report.faults.values()) > 0
    assert {"done", "duplicate", "rejected", "deferred"} <= set(report.verdicts)
