"""How many pixels are decoded at once in this process: the rest wait for their turn. Knows no image."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager


class PixelBudget:
    """Shared by all threads. Decoding takes several times the memory that the pixels keep."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._taken = 0

    @contextmanager
    def reserve(self, pixels: int, *, most: int) -> Generator[None]:
        """Wait until `pixels` more make no more than `most`, or nobody else has any, and have them for a while."""
        with self._changed:
            self._changed.wait_for(lambda: not self._taken or self._taken + pixels <= most)
            self._taken += pixels
        try:
            yield
        finally:
            with self._changed:
                self._taken -= pixels
                self._changed.notify_all()
