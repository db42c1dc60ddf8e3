"""ProcessingContext: what travels from step to step. Frozen; a step gives a new one with its answer added."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from shared.ml.onnx_model import OnnxModel
from shared.vision.detections import Detections


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ProcessingContext:
    """One image of one tenant on its way through the steps.

    `image`: (h, w, 3) uint8 RGB, upright. What no step has looked for is None; an empty answer means that a
    step looked and found nothing. `models` are those that answered, by model type.
    """

    tenant_id: str
    image: npt.NDArray[np.uint8]
    worker_id: int = 0
    detections: Detections | None = None
    models: Mapping[str, OnnxModel] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
