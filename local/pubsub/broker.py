"""Topics, their subscriptions, and what travels from one to the other. Everything in memory, behind one lock.

It speaks the protobuf messages of Pub/Sub and raises google.api_core's exceptions; it knows neither gRPC nor HTTP.
"""

from __future__ import annotations

import itertools
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING, Any

from google.api_core import exceptions

from local.pubsub import rules
from local.pubsub.backlog import Backlog, Delivery
from local.pubsub.message import Message, dead_letter_attributes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from google.protobuf.field_mask_pb2 import FieldMask

    from local.pubsub.filter import Predicate

_DELETED_TOPIC = "_deleted-topic_"
_FIXED = {"name", "topic", "filter", "enable_message_ordering", "state"}
_MAX_PUSHES = 16  # at once, for one subscription


@dataclass(slots=True)
class Subscription:
    config: Any  # a pubsub.Subscription
    backlog: Backlog
    accepts: Predicate
    pushing: Room

    def pushes(self, now: float) -> list[Push]:
        """Lease what is to be pushed."""
        config = self.config
        if not config.push_config.push_endpoint:
            return []
        return [
            Push(
                delivery, config.name, copied(config.push_config), config.ack_deadline_seconds, counts(config)
            )
            for delivery in self.pushing.fill(self.backlog, now)
        ]


@dataclass(slots=True)
class Room:
    """How much one puller takes: at once for a pull, outstanding at any time for a stream."""

    messages: int
    size: float = float("inf")  # bytes
    held: dict[str, int] = field(default_factory=dict)  # ack id -> bytes

    def fill(self, backlog: Backlog, now: float, deadline_s: float | None = None) -> list[Delivery]:
        self.held = {ack_id: size for ack_id, size in self.held.items() if backlog.holds(ack_id)}
        taken = sum(self.held.values())
        deliveries: list[Delivery] = []
        while len(self.held) < self.messages and taken < self.size:
            delivery = backlog.lease(now, deadline_s)
            if delivery is None:
                break
            self.held[delivery.ack_id] = delivery.message.size
            taken += delivery.message.size
            deliveries.append(delivery)
        return deliveries


@dataclass(frozen=True, slots=True)
class Push:
    """A delivery that waits to be posted, and what there is to know about it."""

    delivery: Delivery
    subscription: str
    config: Any  # a pubsub.PushConfig
    timeout_s: float
    counted: bool  # whether the receiver is told the attempt


class Broker:
    """Safe for any number of threads. `clock` gives seconds that only grow."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._on_change: Callable[[], None] = lambda: None
        self._closed = False
        self._topics: dict[str, Any] = {}
        self._subscriptions: dict[str, Subscription] = {}
        self._message_ids = itertools.count(time.time_ns() // 1000)

    # Topics

    def create_topic(self, topic: Any) -> Any:
        rules.check_topic(topic)
        with self._changed:
            if topic.name in self._topics:
                raise exceptions.AlreadyExists("Topic already exists")
            self._topics[topic.name] = topic
            return topic

    def topic(self, name: str) -> Any:
        with self._changed:
            if name not in self._topics:
                raise exceptions.NotFound("Topic not found")
            return self._topics[name]

    def topics(self, project: str) -> list[Any]:
        with self._changed:
            return [topic for name, topic in sorted(self._topics.items()) if name.startswith(f"{project}/")]

    def delete_topic(self, name: str) -> None:
        """Its subscriptions stay, with what they hold."""
        with self._changed:
            self.topic(name)
            del self._topics[name]
            for subscription in self._of(name):
                subscription.config.topic = _DELETED_TOPIC

    def publish(self, name: str, messages: Sequence[Any]) -> list[str]:
        """The ids of the messages; `messages` are pubsub.PubsubMessages."""
        rules.check_messages(messages)
        with self._change():
            self.topic(name)
            return [
                self._publish(name, message.data, dict(message.attributes), message.ordering_key)
                for message in messages
            ]

    # Subscriptions

    def create_subscription(self, config: Any) -> Any:
        rules.complete(config)
        with self._change():
            if config.name in self._subscriptions:
                raise exceptions.AlreadyExists("Subscription already exists")
            self._check_topics(config)
            backlog = Backlog(config.name, rules.policy(config), partial(self._forward, config.name))
            self._subscriptions[config.name] = Subscription(
                config, backlog, rules.accepts(config), Room(_MAX_PUSHES)
            )
            return copied(config)

    def subscription(self, name: str) -> Any:
        with self._changed:
            return copied(self._find(name).config)

    def subscriptions(self, project: str) -> list[Any]:
        with self._changed:
            found = sorted(self._subscriptions.items())
            return [
                copied(subscription.config) for name, subscription in found if name.startswith(f"{project}/")
            ]

    def subscriptions_of(self, topic: str) -> list[Any]:
        with self._changed:
            self.topic(topic)
            return [copied(subscription.config) for subscription in self._of(topic)]

    def update_subscription(self, wanted: Any, mask: FieldMask) -> Any:
        """Change the fields that the mask names."""
        paths = {path.split(".")[0] for path in mask.paths}
        if not paths or not mask.IsValidForDescriptor(wanted.DESCRIPTOR) or paths & _FIXED:
            raise exceptions.InvalidArgument(f"The update_mask cannot be applied: {', '.join(mask.paths)}")
        with self._change():
            subscription = self._find(wanted.name)
            config = copied(subscription.config)
            mask.MergeMessage(wanted, config, replace_message_field=True, replace_repeated_field=True)
            rules.complete(config)
            if "dead_letter_policy" in paths:
                self._check_topics(config)
            return copied(self._configure(subscription, config))

    def modify_push(self, name: str, push: Any) -> None:
        """An empty one turns a push subscription into one that is pulled."""
        rules.check_push(push)
        with self._change():
            subscription = self._find(name)
            config = copied(subscription.config)
            config.push_config.CopyFrom(push)
            self._configure(subscription, config)

    def delete_subscription(self, name: str) -> None:
        with self._change():
            self._find(name)
            del self._subscriptions[name]

    # Deliveries

    def receive(
        self,
        name: str,
        room: Room,
        *,
        wait_s: float,
        alive: Callable[[], bool],
        deadline_s: float | None = None,
    ) -> list[Delivery]:
        """What is ready and fits the room; waits for the first. Empty if nothing came or nobody listens any more."""
        until = self._clock() + wait_s
        with self._changed:
            while True:
                subscription = self._find(name)
                if self._closed:
                    raise exceptions.ServiceUnavailable("The server is stopping")
                if subscription.config.push_config.push_endpoint:
                    raise exceptions.FailedPrecondition("The subscription is pushed, it cannot be pulled")
                now = self._clock()
                deliveries = room.fill(subscription.backlog, now, deadline_s) if alive() else []
                if deliveries or now >= until or not alive():
                    return deliveries
                self._changed.wait(until - now)

    def acknowledge(self, name: str, ack_ids: Iterable[str]) -> None:
        with self._change(), _ack_ids():
            backlog = self._find(name).backlog
            for ack_id in ack_ids:
                backlog.acknowledge(ack_id)

    def extend(self, name: str, deadlines: Iterable[tuple[str, int]]) -> None:
        """Pairs of ack id and seconds from now; 0 gives the message back."""
        with self._change(), _ack_ids():
            backlog = self._find(name).backlog
            for ack_id, seconds in deadlines:
                rules.check_deadline(seconds)
                backlog.extend(ack_id, seconds, self._clock())

    def settle(self, push: Push, *, acknowledged: bool) -> None:
        """End a push. Its subscription may be gone by now."""
        with suppress(exceptions.NotFound):
            if acknowledged:
                self.acknowledge(push.subscription, [push.delivery.ack_id])
            else:
                self.extend(push.subscription, [(push.delivery.ack_id, 0)])

    # Time

    def tick(self) -> tuple[list[Push], float | None]:
        """End what is over, lease what is to be pushed now; the seconds until there is something to end again."""
        with self._changed:
            now = self._clock()
            subscriptions = list(self._subscriptions.values())
            if any([subscription.backlog.advance(now) for subscription in subscriptions]):
                self._changed.notify_all()
            pushes = [push for subscription in subscriptions for push in subscription.pushes(now)]
            events = [subscription.backlog.next_event() for subscription in subscriptions]
            return pushes, min((event - now for event in events if event is not None), default=None)

    def listen(self, on_change: Callable[[], None]) -> None:
        """Call `on_change` whenever there may be something new to deliver; it must not block."""
        with self._changed:
            self._on_change = on_change

    def wake(self) -> None:
        with self._change():
            pass

    def close(self) -> None:
        """Send everybody home who waits for a message."""
        with self._change():
            self._closed = True

    @contextmanager
    def _change(self) -> Iterator[None]:
        with self._changed:
            try:
                yield
            finally:
                self._changed.notify_all()
                self._on_change()

    def _find(self, name: str) -> Subscription:
        if name not in self._subscriptions:
            raise exceptions.NotFound("Subscription does not exist")
        return self._subscriptions[name]

    def _of(self, topic: str) -> list[Subscription]:
        return [held for _, held in sorted(self._subscriptions.items()) if held.config.topic == topic]

    def _check_topics(self, config: Any) -> None:
        if config.topic not in self._topics:
            raise exceptions.NotFound("Subscription topic does not exist")
        if (
            config.HasField("dead_letter_policy")
            and config.dead_letter_policy.dead_letter_topic not in self._topics
        ):
            raise exceptions.NotFound("Dead letter topic not found")

    def _configure(self, subscription: Subscription, config: Any) -> Any:
        subscription.config = config
        subscription.backlog.policy = rules.policy(config)
        return config

    def _publish(self, topic: str, data: bytes, attributes: Mapping[str, str], ordering_key: str) -> str:
        message = Message(
            message_id=str(next(self._message_ids)),
            published=datetime.now(tz=timezone.utc),
            data=data,
            attributes=attributes,
            ordering_key=ordering_key,
        )
        for subscription in self._of(topic):
            if subscription.accepts(attributes):
                subscription.backlog.add(message)
        return message.message_id

    def _forward(self, name: str, message: Message, attempts: int) -> bool:
        topic = self._find(name).config.dead_letter_policy.dead_letter_topic
        if topic not in self._topics:
            return False
        attributes = dead_letter_attributes(message, subscription=name, attempts=attempts)
        self._publish(topic, message.data, attributes, message.ordering_key)
        return True


def counts(config: Any) -> bool:
    """Whether receivers are told the delivery attempt."""
    return bool(config.HasField("dead_letter_policy"))


def copied(message: Any) -> Any:
    copy = type(message)()
    copy.CopyFrom(message)
    return copy


@contextmanager
def _ack_ids() -> Iterator[None]:
    """A malformed ack id in our callers' words."""
    try:
        yield
    except ValueError as error:
        raise exceptions.InvalidArgument(f"Invalid ack id (ack_id={error})") from error
