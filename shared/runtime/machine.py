"""Tells the CPUs and the memory that this process may use: those of its container, not of the host."""

from __future__ import annotations

import os
import resource


def available_cpus() -> int:
    """Return the CPUs that this process may use. ONNX Runtime's own default is all CPUs of the host."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup("cpu.max")
    if len(quota) == 2 and quota[0] != "max":
        allowed = min(allowed, -(-int(quota[0]) // int(quota[1])))
    return max(1, allowed)


def available_memory() -> int:
    """Return the bytes of memory that this process may use: the container's limit, or all of the machine's."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _cgroup("memory.max")
    if limit and limit[0] != "max":
        machine = min(machine, int(limit[0]))
    own, _ = resource.getrlimit(resource.RLIMIT_DATA)
    return machine if own == resource.RLIM_INFINITY else min(machine, own)


def _cgroup(name: str) -> list[str]:
    """Return the values of a control of the container's cgroup (v2). Empty if there is no such control.

    Source: https://docs.kernel.org/admin-guide/cgroup-v2.html
    """
    try:
        with open(f"/sys/fs/cgroup/{name}", encoding="ascii") as file:  # noqa: PTH123 - a fixed path of the kernel
            return file.read().split()
    except OSError:
        return []
