"""Prepare what the page's template shows of one step: texts, bars and tables, still unescaped."""

from collections.abc import Sequence
from dataclasses import dataclass

from local.demo.bed_counts import BedCount
from local.demo.embedded_picture import EmbeddedPicture
from local.demo.plan import Step
from local.demo.step_outcome import ErrorMessage, StepOutcome

NO_BREAK_SPACE = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class Bar:
    """A labelled value with a bar of that share (0 to 1) of the full width."""

    label: str
    value: str
    share: float


@dataclass(frozen=True)
class CardView:
    """A step's outcome with its picture on the page."""

    outcome: StepOutcome
    anchor: str = ""
    picture: EmbeddedPicture | None = None
    href: str = ""  # URL of the picture's file, relative to the page

    @property
    def step(self) -> Step:
        """The step that is shown."""
        return self.outcome.step

    @property
    def error(self) -> ErrorMessage | None:
        """The step's message on the error topic."""
        return self.outcome.error

    @property
    def beds(self) -> Sequence[BedCount]:
        """The rows of the table of beds."""
        return self.outcome.beds

    @property
    def title(self) -> str:
        """The heading of the large picture."""
        return f"{self.step.path} · {self.step.tenant_id}"

    @property
    def alt(self) -> str:
        """The picture's text alternative."""
        document = self.outcome.document or {}
        subject = f"{self.step.path} of {self.step.tenant_id}"
        if self.outcome.has_classification:
            classes = ", ".join(f"{each['label']} {each['confidence']:.0%}" for each in document["classification"])
            return f"{subject}: {classes}"
        counts = self.outcome.comparison.detected if self.outcome.comparison else {}
        objects = ", ".join(f"{count} {label}" for label, count in counts.items()) or "nothing"
        shape = "outlines" if "detections" not in document and "segments" in document else "boxes"
        return f"{subject} with {shape} around what was detected: {objects}"

    @property
    def summary(self) -> str:
        """The image's size and how the step was submitted."""
        parts = [f"by {self.step.channel}"]
        if self.outcome.size_wh:
            width, height = self.outcome.size_wh
            parts.insert(0, NO_BREAK_SPACE.join((str(width), "\N{MULTIPLICATION SIGN}", str(height), "px")))
        return " · ".join(parts)

    @property
    def request_fields(self) -> list[str]:
        """The optional fields of the message, each as its name and value."""
        fields = {"pipeline": self.step.pipeline} if self.step.pipeline else {}
        fields |= {name: f"{value:g}" for name, value in self.step.options.items()}
        if self.step.request_id:
            fields["request_id"] = self.step.request_id
        return [f"{name} {value}" for name, value in fields.items()]

    @property
    def bars(self) -> list[Bar]:
        """The confidence of each class, or the counts of each label with the share that matched."""
        comparison = self.outcome.comparison
        if comparison is None:
            return []
        if self.outcome.has_classification:
            return [
                Bar(
                    f"{each['label']} (correct)" if comparison.actual.get(each["label"]) else each["label"],
                    f"{each['confidence']:.0%}",
                    each["confidence"],
                )
                for each in (self.outcome.document or {})["classification"]
            ]
        bars = []
        for label in comparison.labels:
            detected, actual, matched = (
                counts.get(label, 0) for counts in (comparison.detected, comparison.actual, comparison.matched)
            )
            bars.append(Bar(label, f"{detected} detected, {actual} actual", matched / actual if actual else 0.0))
        return bars

    @property
    def matched(self) -> str:
        """How many detections match an object of the ground truth."""
        if self.outcome.comparison is None or self.outcome.has_classification:
            return ""
        return f"{sum(self.outcome.comparison.matched.values())} matched"

    @property
    def timings(self) -> str:
        """The whole event's duration, and that of the model's runs."""
        total, infer = self.outcome.total_ms, self.outcome.timings_ms.get("infer")
        if total is None:
            return ""
        parts = [f"{total:.0f}{NO_BREAK_SPACE}ms"]
        if infer is not None:
            parts.append(f"model {infer:.0f}{NO_BREAK_SPACE}ms")
        return ", ".join(parts)
