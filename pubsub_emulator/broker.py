"""In-memory broker: topics, subscriptions and the delivery of messages between them, behind one lock.

Its arguments and results are the client library's message types. gRPC and HTTP are other modules.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial

from google.protobuf.field_mask_pb2 import FieldMask
from google.pubsub_v1 import types

from pubsub_emulator import filter as filters
from pubsub_emulator import validation
from pubsub_emulator.backlog import Backlog, Delivery
from pubsub_emulator.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, Unavailable
from pubsub_emulator.message import Message
from pubsub_emulator.subscription import FlowControl, Push, Subscription

_DELETED_TOPIC = "_deleted-topic_"
_IMMUTABLE_FIELDS = {"name", "topic", "filter", "enable_message_ordering", "state"}


class Broker:
    """A thread-safe Pub/Sub broker; `clock` returns monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._condition = threading.Condition()
        self._listener: Callable[[], object] = lambda: None
        self._closed = False
        self._topics: dict[str, types.Topic] = {}
        self._subscriptions: dict[str, Subscription] = {}
        self._message_ids = map(str, itertools.count(time.time_ns() // 1000))

    # Topics

    def create_topic(self, topic: types.Topic) -> types.Topic:
        """Create a topic, and return it."""
        validation.ensure_topic(topic)
        with self._condition:
            if topic.name in self._topics:
                raise AlreadyExists(f"Topic already exists (topic={topic.name})")
            self._topics[topic.name] = topic
            return topic

    def topic(self, name: str) -> types.Topic:
        """Return the topic of this full name."""
        with self._condition:
            if name not in self._topics:
                raise NotFound(f"Topic not found (topic={name[:300]})")
            return self._topics[name]

    def topics(self, project: str) -> list[types.Topic]:
        """Return the topics of a project (`projects/P`), by name."""
        with self._condition:
            return [topic for name, topic in sorted(self._topics.items()) if name.startswith(f"{project}/")]

    def delete_topic(self, name: str) -> None:
        """Delete a topic; its subscriptions keep their messages, and their topic becomes `_deleted-topic_`."""
        with self._condition:
            self.topic(name)
            del self._topics[name]
            for subscription in self._subscriptions_of(name):
                subscription.config = types.Subscription(subscription.config)
                subscription.config.topic = _DELETED_TOPIC

    def publish(self, topic: str, messages: Sequence[types.PubsubMessage]) -> list[str]:
        """Publish messages to a topic, and return their ids in the same order."""
        validation.ensure_messages(messages)
        with self._notifying():
            self.topic(topic)
            return [
                self._publish(topic, message.data, dict(message.attributes), message.ordering_key)
                for message in messages
            ]

    # Subscriptions

    def create_subscription(self, settings: types.Subscription) -> types.Subscription:
        """Create a subscription, and return its settings with the defaults filled in."""
        config = validation.with_defaults(settings)
        with self._notifying():
            if config.name in self._subscriptions:
                raise AlreadyExists(f"Subscription already exists (subscription={config.name})")
            if config.topic not in self._topics:
                raise NotFound(f"Subscription topic does not exist (topic={config.topic[:300]})")
            self._ensure_dead_letter_topic(config)
            backlog = Backlog(
                config.name, validation.delivery_policy(config), partial(self._forward_dead_letter, config.name)
            )
            self._subscriptions[config.name] = Subscription(config, backlog, filters.parse_filter(config.filter))
            return config

    def subscription(self, name: str) -> types.Subscription:
        """Return the settings of the subscription of this full name."""
        with self._condition:
            return self._find_subscription(name).config

    def subscriptions(self, project: str) -> list[types.Subscription]:
        """Return the settings of the subscriptions of a project (`projects/P`), by name."""
        with self._condition:
            by_name = sorted(self._subscriptions.items())
            return [subscription.config for name, subscription in by_name if name.startswith(f"{project}/")]

    def subscription_names_of(self, topic: str) -> list[str]:
        """Return the full names of the subscriptions of a topic, sorted."""
        with self._condition:
            self.topic(topic)
            return sorted(subscription.config.name for subscription in self._subscriptions_of(topic))

    def update_subscription(self, update: types.Subscription, mask: FieldMask) -> types.Subscription:
        """Change the fields that the mask names to those of `update`, and return the new settings."""
        names = {path.split(".")[0] for path in mask.paths}
        valid = mask.IsValidForDescriptor(types.Subscription.pb().DESCRIPTOR)
        if not names or not valid or names & _IMMUTABLE_FIELDS:
            raise InvalidArgument(
                f"Invalid update_mask: {', '.join(mask.paths)[:300]!r}, expected fields of a subscription other "
                f"than {', '.join(sorted(_IMMUTABLE_FIELDS))}"
            )
        with self._notifying():
            subscription = self._find_subscription(update.name)
            config = types.Subscription(subscription.config)
            mask.MergeMessage(types.Subscription.pb(update), types.Subscription.pb(config), True, True)
            config = validation.with_defaults(config)
            if "dead_letter_policy" in names:
                self._ensure_dead_letter_topic(config)
            self._configure(subscription, config)
            return config

    def modify_push_config(self, name: str, push: types.PushConfig) -> None:
        """Replace the push settings; empty ones turn a push subscription into a pull subscription."""
        validation.ensure_push_config(push)
        with self._notifying():
            subscription = self._find_subscription(name)
            config = types.Subscription(subscription.config)
            config.push_config = push
            self._configure(subscription, config)

    def delete_subscription(self, name: str) -> None:
        """Delete a subscription with its messages."""
        with self._notifying():
            self._find_subscription(name)
            del self._subscriptions[name]

    # Deliveries

    def pull(
        self,
        name: str,
        flow_control: FlowControl,
        *,
        timeout_s: float,
        is_active: Callable[[], bool],
        ack_deadline_s: float | None = None,
    ) -> list[Delivery]:
        """Lease the ready messages that the flow control admits, waiting for the first one.

        Args:
            name: full name of the subscription.
            flow_control: limits of this receiver; its outstanding messages are updated.
            timeout_s: how long to wait if no message is ready.
            is_active: returns False once the client has disconnected; asked whenever the broker notifies.
            ack_deadline_s: ack deadline of the leases; that of the subscription if None.

        Returns:
            The deliveries; none after the timeout, or if the client has disconnected.
        """
        give_up_at = self._clock() + timeout_s
        with self._condition:
            while is_active():
                if self._closed:
                    raise Unavailable("The server is stopping")
                subscription = self._find_subscription(name)
                if subscription.config.push_config.push_endpoint:
                    raise FailedPrecondition(f"A push subscription cannot be pulled (subscription={name})")
                now = self._clock()
                if subscription.backlog.advance(now):
                    self._notify()
                deliveries = flow_control.lease_from(subscription.backlog, now, ack_deadline_s)
                if deliveries or now >= give_up_at:
                    return deliveries
                self._condition.wait(give_up_at - now)
        return []

    def acknowledge(self, name: str, ack_ids: Iterable[str]) -> None:
        """Remove the messages of these ack ids from the subscription of this name."""
        with self._notifying():
            backlog = self._find_subscription(name).backlog
            for ack_id in ack_ids:
                backlog.acknowledge(ack_id)

    def extend(self, name: str, deadlines: Iterable[tuple[str, int]]) -> None:
        """Move ack deadlines, given as pairs of ack id and seconds from now; 0 seconds is a nack."""
        with self._notifying():
            backlog = self._find_subscription(name).backlog
            for ack_id, deadline_s in deadlines:
                validation.ensure_ack_deadline(deadline_s)
                backlog.extend(ack_id, deadline_s, self._clock())

    def finish_push(self, push: Push, *, acknowledged: bool) -> None:
        """Acknowledge or nack a pushed message."""
        with suppress(NotFound):  # the subscription was deleted meanwhile
            if acknowledged:
                self.acknowledge(push.subscription, [push.delivery.ack_id])
            else:
                self.extend(push.subscription, [(push.delivery.ack_id, 0)])

    # Timers and waiting threads

    def advance(self) -> tuple[list[Push], float | None]:
        """End the leases and delays that are over, and lease the messages that are to be pushed.

        Returns:
            The pushes, and the seconds until the next lease or delay ends (None if there is none).
        """
        with self._condition:
            now = self._clock()
            subscriptions = self._subscriptions.values()
            changes = [subscription.backlog.advance(now) for subscription in subscriptions]
            if any(changes):
                self._notify()
            pushes = [push for subscription in subscriptions for push in subscription.lease_pushes(now)]
            expiries = [subscription.backlog.next_expiry() for subscription in subscriptions]
            return pushes, min((expiry - now for expiry in expiries if expiry is not None), default=None)

    def set_listener(self, on_change: Callable[[], object]) -> None:
        """Set the callback for whenever `advance` may have something to do; it must not block."""
        with self._condition:
            self._listener = on_change

    def notify(self) -> None:
        """Make all waiting threads check their conditions again."""
        with self._condition:
            self._notify()

    def close(self) -> None:
        """End all waiting pulls with Unavailable."""
        with self._notifying():
            self._closed = True

    @contextmanager
    def _notifying(self) -> Iterator[None]:
        with self._condition:
            try:
                yield
            finally:
                self._notify()

    def _notify(self) -> None:
        self._condition.notify_all()
        self._listener()

    def _find_subscription(self, name: str) -> Subscription:
        if name not in self._subscriptions:
            raise NotFound(f"Subscription does not exist (subscription={name[:300]})")
        return self._subscriptions[name]

    def _subscriptions_of(self, topic: str) -> list[Subscription]:
        return [
            subscription for subscription in self._subscriptions.values() if subscription.config.topic == topic
        ]

    def _ensure_dead_letter_topic(self, config: types.Subscription) -> None:
        topic = config.dead_letter_policy.dead_letter_topic
        if "dead_letter_policy" in config and topic not in self._topics:
            raise NotFound(f"Dead letter topic not found (topic={topic[:300]})")

    def _configure(self, subscription: Subscription, config: types.Subscription) -> None:
        subscription.config = config
        subscription.backlog.policy = validation.delivery_policy(config)

    def _publish(self, topic: str, data: bytes, attributes: Mapping[str, str], ordering_key: str) -> str:
        message = Message(next(self._message_ids), datetime.now(tz=UTC), data, attributes, ordering_key)
        for subscription in self._subscriptions_of(topic):
            if subscription.matches(attributes):
                subscription.backlog.add(message)
        return message.message_id

    def _forward_dead_letter(self, subscription: str, message: Message, attempts: int) -> bool:
        """Publish a message to the dead letter topic of a subscription; return False if the topic was deleted."""
        topic = self._find_subscription(subscription).config.dead_letter_policy.dead_letter_topic
        if topic not in self._topics:
            return False
        attributes = message.dead_letter_attributes(subscription=subscription, attempts=attempts)
        self._publish(topic, message.data, attributes, message.ordering_key)
        self._notify()
        return True
