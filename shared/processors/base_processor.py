"""What all processors are: one tenant's model of the type the class names, taken from the ModelCache."""

from __future__ import annotations

from typing import ClassVar

from shared.ml.model_cache import ModelCache
from shared.ml.output_layout import ModelType


class BaseProcessor:
    """Lives for one request, and answers with one generation of the model however long that takes."""

    model_type: ClassVar[ModelType]

    def __init__(self, *, tenant_id: str, worker_id: int = 0) -> None:
        """Raises: as `ModelCache.get_model`."""
        self.model = ModelCache.get_model(tenant_id=tenant_id, model_type=self.model_type, worker_id=worker_id)
        self.model.pin(self)
