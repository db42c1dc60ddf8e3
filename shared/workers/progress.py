"""What a worker is doing, and until when it may, in a memory file that the waiting process reads.

A worker that was killed, or died, can no longer report what it was doing: its last activity does.
"""

from __future__ import annotations

import math
import os
import struct
import time
from typing import Final

MAX_ACTIVITY_BYTES: Final = 4080
_HEAD: Final = struct.Struct("<dI")  # the end of the time limit, and the length of the activity


class Progress:
    """One activity. The worker writes it; the waiting process reads the last one.

    Both use reads and writes, not a mapping: a worker that shrank the file would make a mapping fault.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        """Make a new memory file, or use the one of a descriptor."""
        self.descriptor = os.memfd_create("progress", os.MFD_CLOEXEC) if descriptor is None else descriptor

    def write(self, activity: str, *, limit_s: float = math.inf) -> None:
        """Replace the activity, cut to MAX_ACTIVITY_BYTES, and set how long what it says may take from now on."""
        data = activity.encode(errors="replace")[:MAX_ACTIVITY_BYTES]
        os.pwrite(self.descriptor, _HEAD.pack(time.monotonic() + limit_s, len(data)) + data, 0)

    def read(self) -> tuple[str, float]:
        """Return the last activity and the end of its time limit, in seconds of `time.monotonic`."""
        data = os.pread(self.descriptor, _HEAD.size + MAX_ACTIVITY_BYTES, 0)
        if len(data) < _HEAD.size:
            return "", math.inf
        ends_at, length = _HEAD.unpack(data[: _HEAD.size])
        return data[_HEAD.size :][:length].decode(errors="replace"), ends_at

    def close(self) -> None:
        """Close the memory file."""
        os.close(self.descriptor)
