"""Everything that may go wrong at once, in short; `python -m benchmarks soak` is the long form."""

import pytest

from testing.soak import Plan, soak

pytestmark = [pytest.mark.stack, pytest.mark.slow]


def test_of_many_uploads_nothing_is_lost_and_nothing_double():
    told = soak(Plan(uploads=60, kills=2, calm=0, storage_rate=0.05, publish_rate=0.2, deadline_s=2))
    assert (told.account.lost, told.account.double, told.dead_letters) == ([], [], 0)
    assert told.events > told.uploads == 60
    assert told.kills == 2
    assert sum(told.faults.values()) > 0
    assert {"done", "duplicate", "rejected", "deferred"} <= set(told.verdicts)
