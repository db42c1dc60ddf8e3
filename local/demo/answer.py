"""What became of one ask, as seen from outside: the log's verdict, the files in storage, the error topic."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from google.cloud import pubsub_v1

from local.demo.beds import Bed
from local.demo.comparison import Comparison
from local.demo.plan import Ask


@dataclass(frozen=True)
class ErrorMessage:
    """A message as the error topic gave it."""

    status: str
    error: str
    sentence: str
    attributes: Mapping[str, str]

    @classmethod
    def parse(cls, message: pubsub_v1.types.PubsubMessage) -> Self:
        attributes = dict(message.attributes)
        return cls(
            status=attributes.get("status", ""),
            error=attributes.get("error", ""),
            sentence=str(json.loads(message.data).get("message", "")),
            attributes=attributes,
        )


@dataclass(frozen=True)
class Sent:
    """What identifies an ask afterwards."""

    image_uri: str
    image_generation: str = ""  # of an upload
    event_id: str = ""  # of a message

    def is_in(self, fields: Mapping[str, Any]) -> bool:
        """Whether a log line or an error message is about this one."""
        if self.event_id:
            return str(fields.get("event_id")) == self.event_id
        return (fields.get("image"), str(fields.get("generation"))) == (self.image_uri, self.image_generation)


@dataclass(frozen=True, eq=False)
class Answer:
    """An ask with all that came of it; what did not come is empty."""

    ask: Ask
    sent: Sent
    verdict: str = ""
    reason: str = ""
    event_id: str = ""
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    generations: Mapping[str, int] = field(default_factory=dict)  # of the models that the tenant had when it asked
    document: Mapping[str, Any] | None = None
    annotated: bytes | None = None
    error: ErrorMessage | None = None
    comparison: Comparison | None = None
    beds: Sequence[Bed] = ()  # if it counted in each

    @property
    def models(self) -> Mapping[str, Mapping[str, Any]]:
        """The models that made the result, by type, as the result says."""
        models: Mapping[str, Mapping[str, Any]] = (self.document or {}).get("models", {})
        return models

    @property
    def model(self) -> Mapping[str, Any]:
        """The one whose answer is compared with what is there."""
        return next((self.models[each] for each in ("detect", "segment", "classify") if each in self.models), {})

    @property
    def size_wh(self) -> tuple[int, int] | None:
        image = (self.document or {}).get("image")
        return (image["width"], image["height"]) if image else None

    @property
    def total_ms(self) -> float | None:
        return self.timings_ms.get("total")
