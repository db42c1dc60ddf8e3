"""The record of one event: summed stages, across threads, separate for each event."""

import contextvars
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from shared.runtime.event_record import EventRecord, current_record, event_record, stage


def test_new_record_has_only_a_total() -> None:
    with event_record() as record:
        assert record.fields == {}
        assert set(record.timings_ms) == {"total"}
        assert record.timings_ms["total"] >= 0


def test_stages_are_in_order_of_their_end_and_summed_by_name() -> None:
    with event_record() as record:
        for name in ("read", "infer", "read"):
            with stage(name):
                time.sleep(0.01)
    timings = record.timings_ms
    assert list(timings) == ["read", "infer", "total"]
    assert timings["read"] >= 20
    assert timings["total"] >= timings["read"] + timings["infer"] - 0.2  # each is rounded to 0.1 ms


def test_stage_that_raises_is_timed() -> None:
    with event_record() as record:
        with pytest.raises(KeyError), stage("read"):
            raise KeyError
        assert "read" in record.timings_ms


def test_stage_and_fields_outside_an_event_are_discarded() -> None:
    with stage("read"):
        current_record().add_fields(a=1)
    assert current_record().fields == {}


def test_concurrent_events_have_separate_records() -> None:
    barrier = threading.Barrier(8)

    def event(number: int) -> EventRecord:
        with event_record() as record:
            barrier.wait(10)
            with stage(f"stage-{number}"):
                current_record().add_fields(number=number)
            barrier.wait(10)
        return record

    with ThreadPoolExecutor(8) as pool:
        records = list(pool.map(event, range(8)))
    for number, record in enumerate(records):
        assert record.fields == {"number": number}
        assert set(record.timings_ms) == {f"stage-{number}", "total"}


def test_threads_with_copied_contexts_add_to_the_event_s_record() -> None:
    def work() -> None:
        for _ in range(200):
            current_record().add("infer", 0.001)

    with event_record() as record, ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(contextvars.copy_context().run, work) for _ in range(4)]:
            future.result(10)
    assert record.timings_ms["infer"] == pytest.approx(800)


def test_outer_record_is_current_again_after_an_inner_event() -> None:
    with event_record() as outer:
        with event_record() as inner:
            current_record().add_fields(a=1)
        current_record().add_fields(b=2)
    assert (inner.fields, outer.fields) == ({"a": 1}, {"b": 2})
