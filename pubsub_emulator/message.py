"""What is published, and the copy of it that goes to a dead letter topic."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Message:
    message_id: str
    published: datetime
    data: bytes
    attributes: Mapping[str, str]
    ordering_key: str = ""

    @property
    def size(self) -> int:
        """Bytes, as flow control counts them."""
        texts = (self.ordering_key, *self.attributes, *self.attributes.values())
        return len(self.data) + sum(len(text.encode()) for text in texts)

    @property
    def published_rfc3339(self) -> str:
        return self.published.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def dead_letter_attributes(self, *, subscription: str, attempts: int) -> dict[str, str]:
        """Its own, and those that Pub/Sub adds when it forwards to a dead letter topic."""
        _, project, _, subscription_id = subscription.split("/")
        return {
            **self.attributes,
            "CloudPubSubDeadLetterSourceDeliveryCount": str(attempts),
            "CloudPubSubDeadLetterSourceSubscription": subscription_id,
            "CloudPubSubDeadLetterSourceSubscriptionProject": project,
            "CloudPubSubDeadLetterSourceTopicPublishTime": self.published_rfc3339,
        }
