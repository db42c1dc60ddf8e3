"""CPUs and memory that this process may use."""

import os
from pathlib import Path

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


CGROUPS: dict[str, tuple[dict[str, str], int | None, int | None]] = {
    # the controls of a container, the limit of its memory, and its CPUs
    "version 2": ({"memory.max": "268435456\n", "cpu.max": "150000 100000\n"}, 2**28, 2),
    "version 2 without limits": ({"memory.max": "max\n", "cpu.max": "max 100000\n"}, None, None),
    "version 1": (
        {
            "memory/memory.limit_in_bytes": "268435456\n",
            "cpu/cpu.cfs_quota_us": "50000\n",
            "cpu/cpu.cfs_period_us": "100000\n",
        },
        2**28,
        1,
    ),
    "version 1 with a shared folder": (
        {"cpu,cpuacct/cpu.cfs_quota_us": "100000\n", "cpu,cpuacct/cpu.cfs_period_us": "100000\n"},
        None,
        1,
    ),
    "version 1 without limits": (
        {
            "memory/memory.limit_in_bytes": "9223372036854771712\n",
            "cpu/cpu.cfs_quota_us": "-1\n",
            "cpu/cpu.cfs_period_us": "100000\n",
        },
        None,
        None,
    ),
    "no cgroup": ({}, None, None),
    "malformed": ({"memory.max": "", "cpu.max": "x y", "memory/memory.limit_in_bytes": "all"}, None, None),
}


@pytest.mark.parametrize("case", CGROUPS)
def test_limits_of_the_container_are_read_from_its_cgroup(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    controls, memory_limit, cpu_limit = CGROUPS[case]
    for name, text in controls.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")

    assert machine.available_memory(tmp_path) == (memory_limit or total)
    assert machine.available_cpus(tmp_path) == (cpu_limit or 8)
