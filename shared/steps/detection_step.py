"""DetectionStep: the whole image to the tenant's detector, its answer to `detections`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

from shared.ml.export import ModelType
from shared.processing_context import ProcessingContext
from shared.processors.detector_processor import DetectionOptions, DetectorProcessor


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionStep:
    model_types: ClassVar[tuple[ModelType, ...]] = ("detect",)

    options: DetectionOptions = field(default_factory=DetectionOptions)

    def execute(self, ctx: ProcessingContext) -> ProcessingContext:
        """Raises: as `DetectorProcessor` and its `process`."""
        processor = DetectorProcessor(tenant_id=ctx.tenant_id, worker_id=ctx.worker_id, options=self.options)
        detections = processor.process(ctx.image)
        return replace(ctx, detections=detections, models={**ctx.models, "detect": processor.model})
