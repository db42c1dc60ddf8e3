"""What this process may use of the machine: the container's share, not the host's."""

from __future__ import annotations

import os


def available_cpus() -> int:
    """CPUs this process may use; ONNX Runtime would take the host's."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup("cpu.max")
    if len(quota) == 2 and quota[0] != "max":
        allowed = min(allowed, -(-int(quota[0]) // int(quota[1])))
    return max(1, allowed)


def available_memory() -> int:
    """Bytes this process may use: the container's, else the machine's."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _cgroup("memory.max")
    return min(machine, int(limit[0])) if limit and limit[0] != "max" else machine


def _cgroup(name: str) -> list[str]:
    """What the container's cgroup (v2) says; nothing where there is no such limit."""
    try:
        with open(f"/sys/fs/cgroup/{name}", encoding="ascii") as file:  # noqa: PTH123 - one line, no path to speak of
            return file.read().split()
    except OSError:
        return []
