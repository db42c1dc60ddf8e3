"""A subscription at work: its settings, its backlog, and how much of it a receiver takes at a time."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from google.pubsub_v1 import types

    from pubsub_emulator.backlog import Backlog, Delivery
    from pubsub_emulator.filter import Predicate

_MAX_PUSHES = 64  # under way at once, for one subscription


@dataclass(slots=True)
class Room:
    """What one receiver may hold: the size of a pull, the flow control of a stream."""

    messages: int
    size: int = sys.maxsize  # bytes; the message that goes beyond is still taken
    held: dict[str, int] = field(default_factory=dict)  # ack id -> bytes

    def fill(self, backlog: Backlog, now: float, deadline_s: float | None = None) -> list[Delivery]:
        """Lease what is ready and fits beside what is still held."""
        self.held = {ack_id: size for ack_id, size in self.held.items() if backlog.holds(ack_id)}
        size = sum(self.held.values())
        deliveries: list[Delivery] = []
        while len(self.held) < self.messages and size < self.size:
            delivery = backlog.lease(now, deadline_s)
            if delivery is None:
                break
            self.held[delivery.ack_id] = delivery.message.size
            size += delivery.message.size
            deliveries.append(delivery)
        return deliveries


@dataclass(frozen=True, slots=True)
class Push:
    """A delivery to be posted, and to where."""

    delivery: Delivery
    subscription: str
    config: types.PushConfig
    timeout_s: float


@dataclass(slots=True)
class Subscription:
    config: types.Subscription  # replaced, never changed in place: readers have it without the lock
    backlog: Backlog
    accepts: Predicate
    pushing: Room = field(default_factory=lambda: Room(_MAX_PUSHES))

    def pushes(self, now: float) -> list[Push]:
        """Lease what is to be pushed now."""
        config = self.config
        if not config.push_config.push_endpoint:
            return []
        return [
            Push(delivery, config.name, config.push_config, config.ack_deadline_seconds)
            for delivery in self.pushing.fill(self.backlog, now)
        ]
