"""What a step is, and which there are, by the names that pipelines call them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol, Self

from shared.config import Config
from shared.ml.output_layout import ModelType
from shared.processing_context import ProcessingContext
from shared.steps.aggregate_step import AggregateStep
from shared.steps.classification_step import ClassificationStep
from shared.steps.detection_step import DetectionStep
from shared.steps.join_segments_step import JoinSegmentsStep
from shared.steps.sahi_detection_step import SAHIDetectionStep
from shared.steps.segment_filter_step import SegmentFilterStep
from shared.steps.segmentation_step import SegmentationStep
from shared.steps.size_statistics_step import SizeStatisticsStep
from shared.steps.within_segments_step import WithinSegmentsStep


class Step(Protocol):
    """Frozen; keeps nothing of a request."""

    @property
    def model_types(self) -> tuple[ModelType, ...]:
        """Of the models it asks for."""
        ...

    @property
    def needs_full_resolution(self) -> bool:
        """Whether it needs all of an image's pixels, not only the image as a whole."""
        ...

    @classmethod
    def from_json(cls, options: Mapping[str, Any], config: Config) -> Self:
        """From options that the schema has accepted. Raises: InvalidPipeline: they make no sense together."""
        ...

    def execute(self, ctx: ProcessingContext) -> ProcessingContext:
        """The context with this step's answer added."""
        ...


STEPS: Final[Mapping[str, type[Step]]] = {
    "detect": DetectionStep,
    "segment": SegmentationStep,
    "sahi_detect": SAHIDetectionStep,
    "classify": ClassificationStep,
    "segment_filter": SegmentFilterStep,
    "join_segments": JoinSegmentsStep,
    "within_segments": WithinSegmentsStep,
    "aggregate": AggregateStep,
    "size_statistics": SizeStatisticsStep,
}
