"""Whether runs of a model can be done in time: asked before the first, so that nothing is begun in vain."""

from __future__ import annotations

from shared.errors import DeadlineExceeded, ImageTooLarge
from shared.runtime import deadline


def ensure_enough_time(runs: int, least_s: float) -> None:
    """`least_s`: what so many runs take together at the very least, from those that were measured.

    Raises:
        ImageTooLarge: an event has less time than that, whenever it is delivered.
        DeadlineExceeded: this one has less left.
    """
    left_s, whole_s = deadline.remaining_s(), deadline.total_s()
    if least_s > whole_s:
        raise ImageTooLarge(
            f"The image takes {runs} runs of the model, {least_s:.3g} s at least; an event has {whole_s:g} s"
        )
    if least_s > left_s:
        raise DeadlineExceeded(
            f"The image takes {runs} runs of the model, {least_s:.3g} s at least, of which {left_s:.3g} s are left"
        )
