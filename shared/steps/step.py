"""Defines what a step is, and lists the steps by the names that pipelines use."""

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
    """A step of a pipeline; frozen, without state of any request."""

    @property
    def model_types(self) -> tuple[ModelType, ...]:
        """The types of the models that it uses."""
        ...

    @property
    def needs_full_resolution(self) -> bool:
        """Whether the image must not be decoded at a reduced size for this step."""
        ...

    @classmethod
    def from_json(cls, options: Mapping[str, Any], config: Config) -> Self:
        """Read options that the schema of pipelines has accepted.

        Raises:
            InvalidPipeline: The options contradict each other.
        """
        ...

    def execute(self, ctx: ProcessingContext) -> ProcessingContext:
        """Return the context with this step's answer added."""
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
