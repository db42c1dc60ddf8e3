"""A published message, and the attributes of its copy on a dead letter topic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class Message:
    """One published message, shared by all subscriptions that it was published to."""

    message_id: str
    publish_time: datetime
    data: bytes
    attributes: Mapping[str, str]
    ordering_key: str = ""

    @property
    def size(self) -> int:
        """The size in bytes, as flow control counts it: data, attributes and ordering key."""
        texts = (self.ordering_key, *self.attributes, *self.attributes.values())
        return len(self.data) + sum(len(text.encode()) for text in texts)

    @property
    def publish_time_rfc3339(self) -> str:
        """The publish time in UTC with milliseconds, e.g. `2026-01-02T03:04:05.678Z`."""
        return self.publish_time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def dead_letter_attributes(self, *, subscription: str, attempts: int) -> dict[str, str]:
        """Return the message's attributes with those that Pub/Sub adds when it forwards to a dead letter topic.

        https://cloud.google.com/pubsub/docs/handling-failures#how_dead_letter_topics_work

        Args:
            subscription: full name of the subscription that gave up on the message.
            attempts: number of deliveries that failed.
        """
        _, project, _, subscription_id = subscription.split("/")
        return {
            **self.attributes,
            "CloudPubSubDeadLetterSourceDeliveryCount": str(attempts),
            "CloudPubSubDeadLetterSourceSubscription": subscription_id,
            "CloudPubSubDeadLetterSourceSubscriptionProject": project,
            "CloudPubSubDeadLetterSourceTopicPublishTime": self.publish_time_rfc3339,
        }
