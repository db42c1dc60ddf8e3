"""The record of one event: stages that add up, across threads, and no event in another's record."""

import contextvars
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from shared.runtime.event_record import current_record, event_record, stage


def test_an_empty_record_has_a_total():
    with event_record() as summary:
        assert summary.fields == {}
        assert set(summary.timings_ms) == {"total"}
        assert summary.timings_ms["total"] >= 0


def test_stages_come_in_the_order_they_ended_and_the_same_name_adds_up():
    with event_record() as summary:
        for name in ("read", "infer", "read"):
            with stage(name):
                time.sleep(0.01)
    timings = summary.timings_ms
    assert list(timings) == ["read", "infer", "total"]
    assert timings["read"] >= 20
    assert timings["total"] >= timings["read"] + timings["infer"]


def test_a_stage_that_fails_is_timed_too():
    with event_record() as summary:
        with pytest.raises(KeyError), stage("read"):
            raise KeyError
        assert "read" in summary.timings_ms


def test_outside_an_event_a_stage_is_timed_for_nobody():
    with stage("read"):
        current_record().add_fields(a=1)
    assert current_record().fields == {}


def test_events_side_by_side_have_records_of_their_own():
    together = threading.Barrier(8)

    def event(number):
        with event_record() as summary:
            together.wait(10)
            with stage(f"stage-{number}"):
                current_record().add_fields(number=number)
            together.wait(10)
        return summary

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(event, range(8)))
    for number, summary in enumerate(found):
        assert summary.fields == {"number": number}
        assert set(summary.timings_ms) == {f"stage-{number}", "total"}


def test_work_handed_to_threads_with_its_context_is_in_the_event_s_record():
    def work():
        for _ in range(200):
            current_record().add("infer", 0.001)

    with event_record() as summary, ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(contextvars.copy_context().run, work) for _ in range(4)]:
            future.result(10)
    assert summary.timings_ms["infer"] == pytest.approx(800)


def test_an_event_within_an_event_gives_back_the_outer_record():
    with event_record() as outer:
        with event_record() as inner:
            current_record().add_fields(a=1)
        current_record().add_fields(b=2)
    assert (inner.fields, outer.fields) == ({"a": 1}, {"b": 2})
