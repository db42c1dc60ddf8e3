"""The names of the local stack's project, buckets, topics and subscriptions."""

from collections.abc import Mapping
from dataclasses import dataclass

DEFAULT_PROJECT = "tenant-vision-local"


@dataclass(frozen=True)
class ResourceNames:
    """The names of all resources; topics and subscriptions by their full names (`projects/P/topics/T`)."""

    project: str
    models_bucket: str
    upload_bucket: str
    results_bucket: str
    upload_topic: str
    image_topic: str
    error_topic: str
    dead_letter_topic: str
    upload_subscription: str
    image_subscription: str
    error_subscription: str
    dead_letter_subscription: str

    @property
    def buckets(self) -> tuple[str, ...]:
        """The buckets without duplicates: one bucket may be used for models, uploads and results."""
        return tuple(dict.fromkeys((self.models_bucket, self.upload_bucket, self.results_bucket)))

    @property
    def topics(self) -> tuple[str, ...]:
        """All topics."""
        return (self.upload_topic, self.image_topic, self.error_topic, self.dead_letter_topic)

    def settings(self) -> dict[str, str]:
        """Return the names as environment variables of the functions."""
        return {
            "GOOGLE_CLOUD_PROJECT": self.project,
            "GCS_BUCKET": self.models_bucket,
            "UPLOAD_BUCKET": self.upload_bucket,
            "RESULTS_BUCKET": self.results_bucket,
            "ERROR_TOPIC": self.error_topic,
        }

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "ResourceNames":
        """Return the names that environment variables set, and defaults for the others.

        If GCS_BUCKET is set, it is the default of UPLOAD_BUCKET and RESULTS_BUCKET.
        """
        project = environment.get("GOOGLE_CLOUD_PROJECT") or DEFAULT_PROJECT
        models_bucket = environment.get("GCS_BUCKET")

        def topic(variable: str, default: str) -> str:
            return full_name(environment.get(variable) or default, "topics", project)

        def subscription(variable: str, default: str) -> str:
            return full_name(environment.get(variable) or default, "subscriptions", project)

        return cls(
            project=project,
            models_bucket=models_bucket or f"{project}-models",
            upload_bucket=environment.get("UPLOAD_BUCKET") or models_bucket or f"{project}-uploads",
            results_bucket=environment.get("RESULTS_BUCKET") or models_bucket or f"{project}-results",
            upload_topic=topic("UPLOAD_TOPIC", "uploads"),
            image_topic=topic("IMAGE_TOPIC", "images"),
            error_topic=topic("ERROR_TOPIC", "errors"),
            dead_letter_topic=topic("DEAD_LETTER_TOPIC", "dead-letters"),
            upload_subscription=subscription("UPLOAD_SUBSCRIPTION", "uploads-to-process-upload"),
            image_subscription=subscription("IMAGE_SUBSCRIPTION", "images-to-process-message"),
            error_subscription=subscription("ERROR_SUBSCRIPTION", "errors-to-read"),
            dead_letter_subscription=subscription("DEAD_LETTER_SUBSCRIPTION", "dead-letters-to-read"),
        )


def full_name(name: str, kind: str, project: str) -> str:
    """Return the full name of a topic or subscription, given its full name or its id.

    Args:
        name: e.g. `errors` or `projects/P/topics/errors`.
        kind: `topics` or `subscriptions`.
        project: the project of an id.
    """
    return name if name.startswith("projects/") else f"projects/{project}/{kind}/{name}"


def short_name(name: str) -> str:
    """Return the id at the end of a full name."""
    return name.rpartition("/")[2]
