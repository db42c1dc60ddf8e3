"""Creates the buckets, topics and subscriptions of the local stack; those that exist are kept."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from google.api_core.exceptions import AlreadyExists, Conflict, NotFound
from google.cloud import pubsub_v1, storage
from google.protobuf.duration_pb2 import Duration

from local.resource_names import ResourceNames

TIMEOUT_S = 10.0


@dataclass(frozen=True)
class RedeliveryPolicy:
    """When a push subscription redelivers; the backoff is shorter than the platform's (10 s to 600 s)."""

    ack_deadline_s: int = 60
    min_backoff_s: float = 1.0
    max_backoff_s: float = 10.0
    max_delivery_attempts: int = 5


@dataclass(frozen=True)
class PushSubscription:
    """A subscription that pushes the messages of a topic to an endpoint."""

    subscription: str
    topic: str
    endpoint: str


def create_buckets(client: storage.Client, names: ResourceNames) -> None:
    """Create the buckets."""
    for name in names.buckets:
        with contextlib.suppress(Conflict):
            client.create_bucket(name, timeout=TIMEOUT_S, retry=None)


def create_topics(publisher: pubsub_v1.PublisherClient, names: ResourceNames) -> None:
    """Create the topics."""
    for name in names.topics:
        with contextlib.suppress(AlreadyExists):
            publisher.create_topic(name=name, timeout=TIMEOUT_S, retry=None)


def create_subscriptions(
    subscriber: pubsub_v1.SubscriberClient,
    names: ResourceNames,
    push_subscriptions: Sequence[PushSubscription],
    redelivery: RedeliveryPolicy,
) -> None:
    """Create the push subscriptions, and the pull subscriptions of the error and dead letter topics.

    Push subscriptions of an earlier run are replaced: their endpoints do not exist any more.
    """
    remove_push_subscriptions(subscriber, push_subscriptions)
    for push in push_subscriptions:
        subscriber.create_subscription(
            request={
                "name": push.subscription,
                "topic": push.topic,
                "push_config": {"push_endpoint": push.endpoint},
                "ack_deadline_seconds": redelivery.ack_deadline_s,
                "retry_policy": {
                    "minimum_backoff": _duration(redelivery.min_backoff_s),
                    "maximum_backoff": _duration(redelivery.max_backoff_s),
                },
                "dead_letter_policy": {
                    "dead_letter_topic": names.dead_letter_topic,
                    "max_delivery_attempts": redelivery.max_delivery_attempts,
                },
            },
            timeout=TIMEOUT_S,
            retry=None,
        )
    pulls = (
        (names.error_subscription, names.error_topic),
        (names.dead_letter_subscription, names.dead_letter_topic),
    )
    for name, topic in pulls:
        with contextlib.suppress(AlreadyExists):
            subscriber.create_subscription(
                request={"name": name, "topic": topic, "ack_deadline_seconds": redelivery.ack_deadline_s},
                timeout=TIMEOUT_S,
                retry=None,
            )


def remove_push_subscriptions(
    subscriber: pubsub_v1.SubscriberClient, push_subscriptions: Sequence[PushSubscription]
) -> None:
    """Delete the push subscriptions that exist."""
    for push in push_subscriptions:
        with contextlib.suppress(NotFound):
            subscriber.delete_subscription(subscription=push.subscription, timeout=TIMEOUT_S, retry=None)


def _duration(seconds: float) -> Duration:
    whole = int(seconds)
    return Duration(seconds=whole, nanos=round((seconds - whole) * 1_000_000_000))
