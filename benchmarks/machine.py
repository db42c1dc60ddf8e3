"""Names the machine that figures are of: they are of no use without."""

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


def machine() -> str:
    cpus, load = available_cpus(), os.getloadavg()[0]
    busy = f"\nBusy (load {load:.1f}): ratios to a run of several threads flatter." if load > cpus / 2 else ""
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    system = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    return f"{_cpu()}, {cpus} CPUs; {system}\n{packages}{busy}"


def _cpu() -> str:
    """What the kernel calls it; elsewhere what the platform does."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or "unknown CPU")
