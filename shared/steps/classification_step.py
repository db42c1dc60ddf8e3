"""ClassificationStep: the whole image to the tenant's classifier, its answer to `classification`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

from shared.config import Config
from shared.ml.output_layout import ModelType
from shared.processing_context import ProcessingContext
from shared.processors.classifier_processor import ClassifierOptions, ClassifierProcessor


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassificationStep:
    model_types: ClassVar[tuple[ModelType, ...]] = ("classify",)
    needs_full_resolution: ClassVar[bool] = False

    options: ClassifierOptions = field(default_factory=ClassifierOptions)

    @classmethod
    def from_json(cls, options: Mapping[str, Any], config: Config) -> Self:  # noqa: ARG003 - as every step's
        return cls(
            options=ClassifierOptions(
                top_k=int(options.get("top_k", 5)),
                confidence_threshold=float(options.get("confidence_threshold", 0.0)),
            )
        )

    def execute(self, ctx: ProcessingContext) -> ProcessingContext:
        """Raises: as `ClassifierProcessor` and its `process`."""
        processor = ClassifierProcessor(tenant_id=ctx.tenant_id, worker_id=ctx.worker_id, options=self.options)
        classification = processor.process(ctx.image)
        return replace(ctx, classification=classification, models={**ctx.models, "classify": processor.model})
