"""Describe the outcome of one step: its verdict, its files in storage, and its message on the error topic."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from google.cloud import pubsub_v1

from local.demo.bed_counts import BedCount
from local.demo.comparison import Comparison
from local.demo.plan import Step


@dataclass(frozen=True)
class ErrorMessage:
    """A message that was read from the error topic."""

    status: str
    error: str
    text: str
    attributes: Mapping[str, str]

    @classmethod
    def parse(cls, message: pubsub_v1.types.PubsubMessage) -> Self:
        """Read the fields of a Pub/Sub message of the error topic."""
        attributes = dict(message.attributes)
        return cls(
            status=attributes.get("status", ""),
            error=attributes.get("error", ""),
            text=str(json.loads(message.data).get("message", "")),
            attributes=attributes,
        )


@dataclass(frozen=True)
class Submission:
    """The identity of a submitted step, by which its log lines and error messages are recognised."""

    image_uri: str
    image_generation: str = ""  # of an upload
    event_id: str = ""  # of a message

    def matches(self, fields: Mapping[str, Any]) -> bool:
        """Return whether a log line or an error message is about this submission."""
        if self.event_id:
            return str(fields.get("event_id")) == self.event_id
        return (fields.get("image"), str(fields.get("generation"))) == (self.image_uri, self.image_generation)


@dataclass(frozen=True, eq=False)
class StepOutcome:
    """A step with everything that it produced; what it did not produce is empty."""

    step: Step
    submission: Submission
    verdict: str = ""
    reason: str = ""
    event_id: str = ""
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    generations: Mapping[str, int] = field(default_factory=dict)  # of the tenant's models at that time, by type
    document: Mapping[str, Any] | None = None
    annotated: bytes | None = None
    error: ErrorMessage | None = None
    comparison: Comparison | None = None
    beds: Sequence[BedCount] = ()  # if the pipeline counted objects in each bed

    @property
    def models(self) -> Mapping[str, Mapping[str, Any]]:
        """The models named in the result, by type."""
        models: Mapping[str, Mapping[str, Any]] = (self.document or {}).get("models", {})
        return models

    @property
    def compared_model(self) -> Mapping[str, Any]:
        """The model whose output is compared with the ground truth."""
        return next((self.models[each] for each in ("detect", "segment", "classify") if each in self.models), {})

    @property
    def size_wh(self) -> tuple[int, int] | None:
        """The image's width and height according to the result."""
        image = (self.document or {}).get("image")
        return (image["width"], image["height"]) if image else None

    @property
    def total_ms(self) -> float | None:
        """The time that the function took for the whole event."""
        return self.timings_ms.get("total")

    @property
    def has_classification(self) -> bool:
        """Whether the result classifies the image as a whole."""
        return "classification" in (self.document or {})
