"""A Pub/Sub as its users meet it: through the stock clients."""

import contextlib
import itertools
import threading
import time
from dataclasses import dataclass, field

from google.api_core.exceptions import NotFound
from google.cloud import pubsub_v1
from google.pubsub_v1 import PublisherClient

from tests.pubsub_emulator.waiting import until

PROJECT = "projects/contract"
NUMBERS = itertools.count()


@dataclass
class Cloud:
    """A Pub/Sub, met through its stock clients. Topics and subscriptions get names of their own."""

    is_googles: bool
    publisher: pubsub_v1.PublisherClient
    subscriber: pubsub_v1.SubscriberClient
    subscriptions: list[str] = field(default_factory=list)

    def topic(self):
        return self.publisher.create_topic(name=f"{PROJECT}/topics/topic-{next(NUMBERS)}").name

    def subscription(self, topic, **settings):
        name = f"{PROJECT}/subscriptions/sub-{next(NUMBERS)}"
        self.subscriber.create_subscription(request={"name": name, "topic": topic, **settings})
        self.subscriptions.append(name)
        return name

    def publish(self, topic, data=b"x", **attributes):
        return self.publisher.publish(topic, data, **attributes).result(timeout=10)

    def publish_at_once(self, topic, messages):
        """In one request, which the stock publisher would divide as it likes."""
        return (
            PublisherClient(transport=self.publisher.transport).publish(topic=topic, messages=messages).message_ids
        )

    def pull(self, subscription, *, at_most=100):
        request = {"subscription": subscription, "max_messages": at_most, "return_immediately": True}
        return list(self.subscriber.pull(request=request, timeout=10).received_messages)

    def pull_all(self, subscription, count, *, within_s=10.0):
        """At least `count` messages, as they come."""
        messages = []
        until(lambda: messages.extend(self.pull(subscription)) or len(messages) >= count, within_s=within_s)
        return messages

    def pull_one(self, subscription, *, within_s=10.0):
        (message,) = self.pull_all(subscription, 1, within_s=within_s)
        return message

    @contextlib.contextmanager
    def stream(self, *said):
        """The responses of a bare StreamingPull, on which the client says this and stays."""
        leave = threading.Event()

        def requests():
            yield from said
            leave.wait(30)

        try:
            yield self.subscriber.streaming_pull(requests=requests(), timeout=30)
        finally:
            leave.set()

    def stays_empty(self, subscription, *, for_s=0.15):
        deadline = time.monotonic() + for_s
        while time.monotonic() < deadline:
            if self.pull(subscription):
                return False
            time.sleep(0.05)
        return True

    def acknowledge(self, subscription, *messages):
        self.subscriber.acknowledge(subscription=subscription, ack_ids=[it.ack_id for it in messages])

    def extend(self, subscription, seconds, *messages):
        self.subscriber.modify_ack_deadline(
            subscription=subscription, ack_ids=[it.ack_id for it in messages], ack_deadline_seconds=seconds
        )


@contextlib.contextmanager
def connected(*, is_googles=False):
    """The stock clients of the Pub/Sub that PUBSUB_EMULATOR_HOST names."""
    options = pubsub_v1.types.PublisherOptions(enable_message_ordering=True)
    cloud = Cloud(is_googles, pubsub_v1.PublisherClient(publisher_options=options), pubsub_v1.SubscriberClient())
    yield cloud
    for name in cloud.subscriptions:
        with contextlib.suppress(NotFound):
            cloud.subscriber.delete_subscription(subscription=name)
    cloud.publisher.stop()
    cloud.publisher.transport.close()
    cloud.subscriber.close()
