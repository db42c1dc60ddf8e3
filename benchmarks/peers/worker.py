"""Serve timings of rows over standard input and output. Needs only the standard library.

-> {"row": "detect, pixels in, 720p", "calls": 4}
<- [53.1, 52.8, 52.9, 53.0]
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from time import perf_counter, sleep
from typing import TextIO

_PAUSE_S = 0.3  # by then the spinning threads of other processes sleep


def serve(works: Mapping[str, Callable[[], Callable[[], object]]]) -> None:
    """Answer commands until standard input ends.

    A row's work is made at its first command, and run once without timing.
    """
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print must not mix with the replies
    made: dict[str, Callable[[], object]] = {}
    _reply(replies, list(works))
    for line in sys.stdin:
        command = json.loads(line)
        name = command["row"]
        if name not in made:
            made[name] = works[name]()
            made[name]()
        sleep(_PAUSE_S)
        made[name]()
        took = []
        for _ in range(command["calls"]):
            began = perf_counter()
            made[name]()
            took.append((perf_counter() - began) * 1000)
        _reply(replies, took)


def _reply(replies: TextIO, value: object) -> None:
    print(json.dumps(value), file=replies, flush=True)
