"""A Pub/Sub emulator as its users see it: through Google's client libraries."""

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from google.api_core.exceptions import NotFound
from google.cloud import pubsub_v1
from google.cloud.pubsub_v1.subscriber.message import Message
from google.pubsub_v1 import PublisherClient
from google.pubsub_v1.types import ReceivedMessage, StreamingPullResponse

from tests.pubsub_emulator.waiting import wait_until

PROJECT = "projects/contract"
NUMBERS = itertools.count()


@dataclass
class PubSubClient:
    """The clients of one emulator; topics and subscriptions get unique names."""

    is_google: bool
    publisher: pubsub_v1.PublisherClient
    subscriber: pubsub_v1.SubscriberClient
    subscriptions: list[str] = field(default_factory=list)

    def topic(self) -> str:
        """Create a topic, and return its name."""
        name: str = self.publisher.create_topic(name=f"{PROJECT}/topics/topic-{next(NUMBERS)}").name
        return name

    def subscription(self, topic: str, **settings: Any) -> str:
        """Create a subscription with these settings, and return its name."""
        name = f"{PROJECT}/subscriptions/sub-{next(NUMBERS)}"
        self.subscriber.create_subscription(request={"name": name, "topic": topic, **settings})
        self.subscriptions.append(name)
        return name

    def publish(self, topic: str, data: bytes = b"x", **attributes: str) -> str:
        """Publish a message, and return its id."""
        message_id: str = self.publisher.publish(topic, data, **attributes).result(timeout=10)
        return message_id

    def publish_batch(self, topic: str, messages: Iterable[Mapping[str, Any]]) -> list[str]:
        """Publish messages in one request, which the library's publisher would split, and return their ids."""
        publisher = PublisherClient(transport=self.publisher.transport)
        request = {"topic": topic, "messages": list(messages)}
        return list(publisher.publish(request=request).message_ids)

    def pull(self, subscription: str, *, max_messages: int = 100) -> list[ReceivedMessage]:
        """Pull without waiting."""
        request = {"subscription": subscription, "max_messages": max_messages, "return_immediately": True}
        return list(self.subscriber.pull(request=request, timeout=10).received_messages)

    def pull_all(self, subscription: str, count: int, *, within_s: float = 10.0) -> list[ReceivedMessage]:
        """Pull until at least `count` messages were received."""
        messages: list[ReceivedMessage] = []

        def is_complete() -> bool:
            messages.extend(self.pull(subscription))
            return len(messages) >= count

        wait_until(is_complete, within_s=within_s)
        return messages

    def pull_one(self, subscription: str, *, within_s: float = 10.0) -> ReceivedMessage:
        """Pull until a message is received; fail if there are two."""
        (message,) = self.pull_all(subscription, 1, within_s=within_s)
        return message

    @contextlib.contextmanager
    def stream(self, *requests: Mapping[str, Any]) -> Iterator[Iterator[StreamingPullResponse]]:
        """Open a bare StreamingPull, send these requests and keep it open; yield its responses."""
        closed = threading.Event()

        def send() -> Iterator[Mapping[str, Any]]:
            yield from requests
            closed.wait(30)

        try:
            yield self.subscriber.streaming_pull(requests=send(), timeout=30)
        finally:
            closed.set()

    def stays_empty(self, subscription: str, *, for_s: float = 0.15) -> bool:
        """Return whether no message can be pulled during this time."""
        deadline = time.monotonic() + for_s
        while time.monotonic() < deadline:
            if self.pull(subscription):
                return False
            time.sleep(0.05)
        return True

    def acknowledge(self, subscription: str, *messages: ReceivedMessage) -> None:
        self.subscriber.acknowledge(subscription=subscription, ack_ids=[message.ack_id for message in messages])

    def extend(self, subscription: str, deadline_s: int, *messages: ReceivedMessage) -> None:
        """Set the ack deadline of messages; 0 is a nack."""
        self.subscriber.modify_ack_deadline(
            subscription=subscription,
            ack_ids=[message.ack_id for message in messages],
            ack_deadline_seconds=deadline_s,
        )


def collect_and_ack(received: list[bytes]) -> Callable[[Message], None]:
    """Return a callback of a stream that appends the data of each message to `received`, and acknowledges it."""

    def callback(message: Message) -> None:
        received.append(message.data)
        message.ack()

    return callback


@contextlib.contextmanager
def connected(*, is_google: bool = False) -> Iterator[PubSubClient]:
    """Yield the clients of the emulator that PUBSUB_EMULATOR_HOST names."""
    options = pubsub_v1.types.PublisherOptions(enable_message_ordering=True)
    pubsub = PubSubClient(
        is_google, pubsub_v1.PublisherClient(publisher_options=options), pubsub_v1.SubscriberClient()
    )
    yield pubsub
    for name in pubsub.subscriptions:
        with contextlib.suppress(NotFound):
            pubsub.subscriber.delete_subscription(subscription=name)
    pubsub.publisher.stop()
    pubsub.publisher.transport.close()
    pubsub.subscriber.close()
