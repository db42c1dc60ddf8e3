"""What workers of the tests do: echo, sleep, take memory, die."""

from __future__ import annotations

import ctypes
import math
import mmap
import os
import time
from pathlib import Path
from typing import Any

from shared.workers.channel import Channel, close_all, memory_file, read_memory_file
from shared.workers.progress import Progress


def handle(  # noqa: C901 - one case after the other
    request: dict[str, Any], descriptors: list[int], channel: Channel, progress: Progress
) -> tuple[dict[str, Any], list[int]]:
    """Do what `do` says, then echo the memory files."""
    progress.write(request.get("activity", ""), limit_s=request.get("limit_s", math.inf))
    match request.get("do"):
        case "sleep":
            time.sleep(request["seconds"])
        case "allocate":
            bytearray(request["bytes"])
        case "share":
            shared = mmap.mmap(-1, request["bytes"])  # MAP_SHARED, which RLIMIT_DATA does not count
            for start in range(0, len(shared), mmap.PAGESIZE):
                shared[start] = 1
            time.sleep(30)
        case "fault":
            ctypes.string_at(0)
        case "ask":
            channel.send({"ask": request["question"]})
            answer, files = channel.receive()
            return answer, files
        case "flood":
            while True:
                os.write(channel.fileno(), b'{"ask":"model?"}')
        case "exit":
            os._exit(3)
        case "count":
            return {"descriptors": len(list(Path("/proc/self/fd").iterdir()))}, []
        case _:
            pass
    echo = [read_memory_file(each, max_bytes=2**30) for each in descriptors]
    close_all(descriptors)
    return {"pid": os.getpid()}, [memory_file(each) for each in echo]
