"""CPUs and memory that this process may use."""

import os

import pytest

from shared.runtime import machine


def test_available_cpus_are_those_of_this_process() -> None:
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    assert 1 <= machine.available_cpus() <= len(allowed)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux pins a process to CPUs")
def test_process_pinned_to_one_cpu_has_one_available() -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert machine.available_cpus() == 1
    finally:
        os.sched_setaffinity(0, before)


def test_available_memory_is_at_most_that_of_the_machine() -> None:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 2**26 < machine.available_memory() <= total
