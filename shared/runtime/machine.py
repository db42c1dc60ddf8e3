"""Tells the CPUs and the memory that this process may use: those of its container, not of the host."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import Final

CGROUP_ROOT: Final = Path("/sys/fs/cgroup")
_V1_CPU_FOLDERS: Final = ("cpu", "cpu,cpuacct", "cpuacct,cpu")


def available_cpus(cgroup_root: Path = CGROUP_ROOT) -> int:
    """Return the CPUs that this process may use. ONNX Runtime's own default is all CPUs of the host."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota_us, period_us = _cpu_quota(cgroup_root)
    if quota_us > 0 and period_us > 0:
        allowed = min(allowed, -(-quota_us // period_us))
    return max(1, allowed)


def available_memory(cgroup_root: Path = CGROUP_ROOT) -> int:
    """Return the bytes of memory that this process may use: the container's limit, or all of the machine's."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for control in ("memory.max", "memory/memory.limit_in_bytes"):
        limit = _numbers(cgroup_root / control)
        if limit and limit[0] > 0:
            machine = min(machine, limit[0])  # version 1 writes nearly 2**63 for no limit
    own, _ = resource.getrlimit(resource.RLIMIT_DATA)
    return machine if own == resource.RLIM_INFINITY else min(machine, own)


def _cpu_quota(cgroup_root: Path) -> tuple[int, int]:
    """Return the time that this cgroup may run in each period, both in microseconds; (0, 0) without a limit."""
    quota = _numbers(cgroup_root / "cpu.max")
    for folder in _V1_CPU_FOLDERS:
        if len(quota) != 2:
            names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            quota = [number for name in names for number in _numbers(cgroup_root / folder / name)]
    return (quota[0], quota[1]) if len(quota) == 2 else (0, 0)


def _numbers(control: Path) -> list[int]:
    """Return the numbers of a control of the container's cgroup. Empty if there is none, or no limit ("max").

    Sources: https://docs.kernel.org/admin-guide/cgroup-v2.html and
    https://docs.kernel.org/admin-guide/cgroup-v1/memory.html, /scheduler/sched-bwc.html
    """
    try:
        return [int(number) for number in control.read_text(encoding="ascii").split()]
    except (OSError, ValueError):
        return []
