"""ClassifierProcessor: what the tenant's classify model takes a whole image for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shared.errors import InvalidModel
from shared.processors.base_processor import BaseProcessor
from shared.runtime.event_record import stage
from shared.vision.arrays import Pixels
from shared.vision.classification import Classification, classifier_input, top_k


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierOptions:
    """At most `top_k` classes, of a confidence of at least `confidence_threshold` (0 to 1)."""

    top_k: int = 5
    confidence_threshold: float = 0.0


class ClassifierProcessor(BaseProcessor):
    model_type = "classify"

    def __init__(self, *, tenant_id: str, worker_id: int = 0, options: ClassifierOptions | None = None) -> None:
        """Raises: as `ModelCache.get_model`."""
        super().__init__(tenant_id=tenant_id, worker_id=worker_id)
        self._options = options or ClassifierOptions()

    def process(self, image: Pixels) -> Classification:
        """Classify (h, w, 3) uint8 RGB, its middle square if the model's input is one.

        Raises:
            InvalidModel: the model fails on this input, or answers with what are no confidences.
        """
        export = self.model.export
        with stage("preprocess"):
            batch = np.zeros((export.batch or 1, 3, *export.canvas_hw), export.dtype)
            batch[0] = classifier_input(image, export.canvas_hw)
        with stage("infer"):
            scores = self.model.run(batch)[0][0]
        if not (np.isfinite(scores).all() and (scores >= 0).all() and (scores <= 1).all()):
            raise InvalidModel("The model's scores are not between 0 and 1: export it with its softmax")
        return top_k(scores, count=self._options.top_k, threshold=self._options.confidence_threshold)
