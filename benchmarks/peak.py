"""Run a command, and print its wall time, CPU time and peak memory as JSON: `peak.py COMMAND`.

This is a small process of its own because Linux counts the memory of the parent, at the time of the fork, as the
child's.
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
    measurements = {
        "wall_s": took_s,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_bytes": usage.ru_maxrss * unit,
    }
    print(json.dumps(measurements))
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
