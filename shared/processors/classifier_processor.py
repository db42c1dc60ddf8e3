"""ClassifierProcessor: classifies an image with the tenant's classifier."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from shared.errors import InvalidModel
from shared.processors.base_processor import BaseProcessor
from shared.processors.options import JsonOptions
from shared.runtime.event_record import stage
from shared.vision.arrays import Pixels
from shared.vision.classification import Classification, classifier_input, top_k


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierOptions(JsonOptions):
    """Which classes are wanted: at most `top_k`, with a confidence of `confidence_threshold` (0 to 1) or more."""

    top_k: int = field(default=5, metadata={"parse": int})
    confidence_threshold: float = field(default=0.0, metadata={"parse": float})


class ClassifierProcessor(BaseProcessor):
    """Runs the tenant's classifier on whole images."""

    model_type = "classify"

    def __init__(self, *, tenant_id: str, worker_id: int = 0, options: ClassifierOptions | None = None) -> None:
        """Load and pin the tenant's classifier.

        Raises:
            ModelNotFound, InvalidModel, StorageUnavailable, DeadlineExceeded: The model cannot be loaded.
        """
        super().__init__(tenant_id=tenant_id, worker_id=worker_id)
        self._options = options or ClassifierOptions()

    def process(self, image: Pixels) -> Classification:
        """Classify (h, w, 3) uint8 RGB: its centre square for a square canvas, else all of it, stretched.

        Raises:
            InvalidModel: The model fails on this input, or its scores are not probabilities.
        """
        export = self.model.export
        with stage("preprocess"):
            batch = np.zeros((export.batch or 1, 3, *export.canvas_hw), export.dtype)
            batch[0] = classifier_input(image, export.canvas_hw)
        with stage("infer"):
            scores = self.model.run(batch)[0][0]
        if not (np.isfinite(scores).all() and (scores >= 0).all() and (scores <= 1).all()):
            raise InvalidModel("The model's scores are not within 0 to 1: export it with its softmax")
        return top_k(scores, count=self._options.top_k, threshold=self._options.confidence_threshold)
