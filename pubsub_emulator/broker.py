"""Topics, their subscriptions, and what travels from one to the other: in memory, behind one lock.

It takes and gives the types of the client library; it knows neither gRPC nor HTTP.
"""

from __future__ import annotations

import itertools
import threading
import time
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from google.pubsub_v1 import types

from pubsub_emulator import filter as filters
from pubsub_emulator import rules
from pubsub_emulator.backlog import Backlog, Delivery
from pubsub_emulator.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, Unavailable
from pubsub_emulator.message import Message
from pubsub_emulator.subscription import Push, Room, Subscription

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from google.protobuf.field_mask_pb2 import FieldMask

_DELETED_TOPIC = "_deleted-topic_"
_FIXED = {"name", "topic", "filter", "enable_message_ordering", "state"}


class Broker:
    """Safe for any number of threads. `clock` gives seconds that only grow."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._on_change: Callable[[], object] = lambda: None
        self._closed = False
        self._topics: dict[str, types.Topic] = {}
        self._subscriptions: dict[str, Subscription] = {}
        self._message_ids = map(str, itertools.count(time.time_ns() // 1000))

    # Topics

    def create_topic(self, topic: types.Topic) -> types.Topic:
        rules.check_topic(topic)
        with self._changed:
            if topic.name in self._topics:
                raise AlreadyExists("Topic already exists")
            self._topics[topic.name] = topic
            return topic

    def topic(self, name: str) -> types.Topic:
        with self._changed:
            if name not in self._topics:
                raise NotFound("Topic not found")
            return self._topics[name]

    def topics(self, project: str) -> list[types.Topic]:
        with self._changed:
            return [topic for name, topic in sorted(self._topics.items()) if name.startswith(f"{project}/")]

    def delete_topic(self, name: str) -> None:
        """Its subscriptions stay, with what they hold."""
        with self._changed:
            self.topic(name)
            del self._topics[name]
            for subscription in self._of(name):
                subscription.config = types.Subscription(subscription.config)
                subscription.config.topic = _DELETED_TOPIC

    def publish(self, topic: str, messages: Sequence[types.PubsubMessage]) -> list[str]:
        """The ids of the messages."""
        rules.check_messages(messages)
        with self._change():
            self.topic(topic)
            return [self._publish(topic, it.data, dict(it.attributes), it.ordering_key) for it in messages]

    # Subscriptions

    def create_subscription(self, settings: types.Subscription) -> types.Subscription:
        config = rules.complete(settings)
        with self._change():
            if config.name in self._subscriptions:
                raise AlreadyExists("Subscription already exists")
            if config.topic not in self._topics:
                raise NotFound("Subscription topic does not exist")
            self._check_dead_letter_topic(config)
            backlog = Backlog(config.name, rules.policy(config), partial(self._forward, config.name))
            self._subscriptions[config.name] = Subscription(config, backlog, filters.predicate(config.filter))
            return config

    def subscription(self, name: str) -> types.Subscription:
        with self._changed:
            return self._find(name).config

    def subscriptions(self, project: str) -> list[types.Subscription]:
        with self._changed:
            found = sorted(self._subscriptions.items())
            return [subscription.config for name, subscription in found if name.startswith(f"{project}/")]

    def subscriptions_of(self, topic: str) -> list[str]:
        with self._changed:
            self.topic(topic)
            return sorted(subscription.config.name for subscription in self._of(topic))

    def update_subscription(self, wanted: types.Subscription, mask: FieldMask) -> types.Subscription:
        """Change the fields that the mask names."""
        names = {path.split(".")[0] for path in mask.paths}
        valid = mask.IsValidForDescriptor(types.Subscription.pb().DESCRIPTOR)
        if not names or not valid or names & _FIXED:
            raise InvalidArgument(f"Invalid update_mask: {', '.join(mask.paths)}")
        with self._change():
            subscription = self._find(wanted.name)
            config = types.Subscription(subscription.config)
            mask.MergeMessage(types.Subscription.pb(wanted), types.Subscription.pb(config), True, True)
            config = rules.complete(config)
            if "dead_letter_policy" in names:
                self._check_dead_letter_topic(config)
            self._configure(subscription, config)
            return config

    def modify_push(self, name: str, push: types.PushConfig) -> None:
        """An empty one turns a pushed subscription into one that is pulled."""
        rules.check_push(push)
        with self._change():
            subscription = self._find(name)
            config = types.Subscription(subscription.config)
            config.push_config = push
            self._configure(subscription, config)

    def delete_subscription(self, name: str) -> None:
        with self._change():
            self._find(name)
            del self._subscriptions[name]

    # Deliveries

    def receive(
        self, name: str, room: Room, *, wait_s: float, alive: Callable[[], bool], deadline_s: float | None = None
    ) -> list[Delivery]:
        """What is ready and fits the room. Waits for the first; gives up when nobody listens any more."""
        until = self._clock() + wait_s
        with self._changed:
            while alive():
                if self._closed:
                    raise Unavailable("The server is stopping")
                subscription = self._find(name)
                if subscription.config.push_config.push_endpoint:
                    raise FailedPrecondition("The subscription is pushed and cannot be pulled")
                now = self._clock()
                if subscription.backlog.advance(now):
                    self._announce()
                deliveries = room.fill(subscription.backlog, now, deadline_s)
                if deliveries or now >= until:
                    return deliveries
                self._changed.wait(until - now)
        return []

    def acknowledge(self, name: str, ack_ids: Iterable[str]) -> None:
        with self._change():
            backlog = self._find(name).backlog
            for ack_id in ack_ids:
                backlog.acknowledge(ack_id)

    def extend(self, name: str, deadlines: Iterable[tuple[str, int]]) -> None:
        """Pairs of ack id and seconds from now; 0 gives the message back."""
        with self._change():
            backlog = self._find(name).backlog
            for ack_id, seconds in deadlines:
                rules.check_deadline(seconds)
                backlog.extend(ack_id, seconds, self._clock())

    def settle(self, push: Push, *, acknowledged: bool) -> None:
        """End a push. Its subscription may be gone by now."""
        with suppress(NotFound):
            if acknowledged:
                self.acknowledge(push.subscription, [push.delivery.ack_id])
            else:
                self.extend(push.subscription, [(push.delivery.ack_id, 0)])

    # Time, and those who wait

    def tick(self) -> tuple[list[Push], float | None]:
        """End what is over and lease what is to be pushed; and the seconds until something ends again."""
        with self._changed:
            now = self._clock()
            subscriptions = self._subscriptions.values()
            over = [subscription.backlog.advance(now) for subscription in subscriptions]
            if any(over):
                self._announce()
            pushes = [push for subscription in subscriptions for push in subscription.pushes(now)]
            ends = [subscription.backlog.next_event() for subscription in subscriptions]
            return pushes, min((end - now for end in ends if end is not None), default=None)

    def listen(self, on_change: Callable[[], object]) -> None:
        """Call `on_change`, which must not block, whenever there may be something to do for `tick`."""
        with self._changed:
            self._on_change = on_change

    def wake(self) -> None:
        """Let everybody who waits look again."""
        with self._changed:
            self._announce()

    def close(self) -> None:
        """Send everybody home who waits."""
        with self._change():
            self._closed = True

    @contextmanager
    def _change(self) -> Iterator[None]:
        with self._changed:
            try:
                yield
            finally:
                self._announce()

    def _announce(self) -> None:
        self._changed.notify_all()
        self._on_change()

    def _find(self, name: str) -> Subscription:
        if name not in self._subscriptions:
            raise NotFound("Subscription does not exist")
        return self._subscriptions[name]

    def _of(self, topic: str) -> list[Subscription]:
        return [
            subscription for subscription in self._subscriptions.values() if subscription.config.topic == topic
        ]

    def _check_dead_letter_topic(self, config: types.Subscription) -> None:
        if "dead_letter_policy" in config and config.dead_letter_policy.dead_letter_topic not in self._topics:
            raise NotFound("Dead letter topic not found")

    def _configure(self, subscription: Subscription, config: types.Subscription) -> None:
        subscription.config = config
        subscription.backlog.policy = rules.policy(config)

    def _publish(self, topic: str, data: bytes, attributes: Mapping[str, str], ordering_key: str) -> str:
        message = Message(next(self._message_ids), datetime.now(tz=UTC), data, attributes, ordering_key)
        for subscription in self._of(topic):
            if subscription.accepts(attributes):
                subscription.backlog.add(message)
        return message.message_id

    def _forward(self, subscription: str, message: Message, attempts: int) -> bool:
        """To the dead letter topic; False if it is gone."""
        topic = self._find(subscription).config.dead_letter_policy.dead_letter_topic
        if topic not in self._topics:
            return False
        attributes = message.dead_letter_attributes(subscription=subscription, attempts=attempts)
        self._publish(topic, message.data, attributes, message.ordering_key)
        self._announce()
        return True
