"""ClassificationStep: classifies the whole image."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

from shared.ml.output_layout import ModelType
from shared.processing_context import ProcessingContext
from shared.processors.classifier_processor import ClassifierOptions, ClassifierProcessor
from shared.processors.options import JsonOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassificationStep(JsonOptions):
    """Runs the tenant's classifier."""

    model_types: ClassVar[tuple[ModelType, ...]] = ("classify",)
    needs_full_resolution: ClassVar[bool] = False

    options: ClassifierOptions = field(default_factory=ClassifierOptions)

    def execute(self, ctx: ProcessingContext) -> ProcessingContext:
        """Set `classification`.

        Raises:
            InvalidModel: The model cannot be served, or fails on this image.
            ModelNotFound, StorageUnavailable, DeadlineExceeded: The model cannot be loaded.
        """
        processor = ClassifierProcessor(tenant_id=ctx.tenant_id, options=self.options)
        classification = processor.process(ctx.image)
        return replace(ctx, classification=classification, models={**ctx.models, "classify": processor.model})
