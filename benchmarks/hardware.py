"""Describe the machine and the package versions that figures were measured with."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Final

from shared.runtime.machine import available_cpus

_PACKAGES: Final = (
    "functions-framework",
    "google-cloud-storage",
    "google-cloud-pubsub",
    "numpy",
    "onnxruntime",
    "pillow",
    "simplejpeg",
)


def describe_hardware() -> str:
    """Return the CPU, the system and the package versions, and a warning if the machine is busy."""
    cpus, load = available_cpus(), os.getloadavg()[0]
    busy = f"\nBusy (load {load:.1f}): ratios to runs on several threads are too low." if load > cpus / 2 else ""
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    system = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    return f"{_cpu()}, {cpus} CPUs; {system}\n{packages}{busy}"


def _cpu() -> str:
    """Return the CPU's name as the Linux kernel reports it, or else as the platform does."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or "unknown CPU")
