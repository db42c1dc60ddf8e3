"""Runs a command and prints, as JSON, the seconds it took and the most bytes resident: `peak.py COMMAND`.

A process of its own, and a small one: the system counts what its parent was when a process is started as its own.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from time import perf_counter


def main(command: list[str]) -> int:
    began = perf_counter()
    done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
    took_s = perf_counter() - began
    unit = 1 if sys.platform == "darwin" else 1024
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = {
        "wall_s": took_s,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_bytes": usage.ru_maxrss * unit,
    }
    print(json.dumps(found))
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
