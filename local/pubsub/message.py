"""What is published: an immutable message, and the copy of it that goes to a dead letter topic."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
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
        """Bytes of data, attributes and key: what flow control and the limits count."""
        return (
            len(self.data)
            + len(self.ordering_key.encode())
            + sum(len(key.encode()) + len(value.encode()) for key, value in self.attributes.items())
        )

    @property
    def published_rfc3339(self) -> str:
        return (
            self.published.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        )


def dead_letter_attributes(message: Message, *, subscription: str, attempts: int) -> dict[str, str]:
    """The message's own attributes and those that Pub/Sub adds when it forwards to a dead letter topic."""
    _, project, _, subscription_id = subscription.split("/")
    return {
        **message.attributes,
        "CloudPubSubDeadLetterSourceDeliveryCount": str(attempts),
        "CloudPubSubDeadLetterSourceSubscription": subscription_id,
        "CloudPubSubDeadLetterSourceSubscriptionProject": project,
        "CloudPubSubDeadLetterSourceTopicPublishTime": message.published_rfc3339,
    }
