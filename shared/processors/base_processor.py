"""BaseProcessor: pins one model of one tenant; and the check that its runs fit into the event's deadline."""

from __future__ import annotations

from typing import ClassVar

from shared.errors import DeadlineExceeded, ImageTooLarge
from shared.ml.model_cache import ModelCache
from shared.ml.output_layout import ModelType
from shared.runtime import deadline


class BaseProcessor:
    """Lives for one request, and uses one generation of the model for all of it.

    The model is taken from the ModelCache once, and pinned against eviction as long as the processor lives.
    """

    model_type: ClassVar[ModelType]

    def __init__(self, *, tenant_id: str, worker_id: int = 0) -> None:
        """Load and pin the tenant's model.

        Raises:
            ModelNotFound: The tenant has no model of this type.
            InvalidModel: The model cannot be served.
            StorageUnavailable: Storage failed.
            DeadlineExceeded: The event's time ended while the model was loaded.
        """
        self.model = ModelCache.get_model(tenant_id=tenant_id, model_type=self.model_type, worker_id=worker_id)
        self.model.pin(self)


def ensure_enough_time(runs: int, min_runtime_s: float) -> None:
    """Check before the first of several runs that all of them can end before the event's deadline.

    Args:
        runs: How often the model is to run.
        min_runtime_s: The least time that takes, from the runs measured so far.

    Raises:
        ImageTooLarge: No event has that much time, whenever it is delivered.
        DeadlineExceeded: This delivery has not that much time left.
    """
    remaining_s, total_s = deadline.remaining_s(), deadline.total_s()
    needs = f"The image needs {runs} runs of the model, which take at least {min_runtime_s:.3g} s"
    if min_runtime_s > total_s:
        raise ImageTooLarge(f"{needs}; the limit for an event is {total_s:g} s")
    if min_runtime_s > remaining_s:
        raise DeadlineExceeded(f"{needs}; this event has {remaining_s:.3g} s left")
