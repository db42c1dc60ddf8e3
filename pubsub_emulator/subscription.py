"""A subscription's settings and backlog, and the flow control of its receivers."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

from google.pubsub_v1 import types

from pubsub_emulator.backlog import Backlog, Delivery
from pubsub_emulator.filter import Predicate

MAX_CONCURRENT_PUSHES = 64  # of one subscription


@dataclass(slots=True)
class FlowControl:
    """Limits on the outstanding messages of one receiver: a pull, an open stream or a push subscription."""

    max_messages: int
    max_bytes: int = sys.maxsize  # the message that exceeds it is still leased
    outstanding: dict[str, int] = field(default_factory=dict)  # ack id -> bytes

    def lease_from(self, backlog: Backlog, now: float, deadline_s: float | None = None) -> list[Delivery]:
        """Lease ready messages until the limits are reached, and return their deliveries."""
        self.outstanding = {
            ack_id: size for ack_id, size in self.outstanding.items() if backlog.is_outstanding(ack_id)
        }
        total_bytes = sum(self.outstanding.values())
        deliveries: list[Delivery] = []
        while len(self.outstanding) < self.max_messages and total_bytes < self.max_bytes:
            delivery = backlog.lease(now, deadline_s)
            if delivery is None:
                break
            self.outstanding[delivery.ack_id] = delivery.message.size
            total_bytes += delivery.message.size
            deliveries.append(delivery)
        return deliveries


@dataclass(frozen=True, slots=True)
class Push:
    """A delivery that is to be posted to a push endpoint."""

    delivery: Delivery
    subscription: str
    config: types.PushConfig
    timeout_s: float


@dataclass(slots=True)
class Subscription:
    """A subscription with the messages that wait for it."""

    config: types.Subscription  # replaced, never modified: readers use it without the broker's lock
    backlog: Backlog
    matches: Predicate  # its filter
    push_flow_control: FlowControl = field(default_factory=lambda: FlowControl(MAX_CONCURRENT_PUSHES))

    def lease_pushes(self, now: float) -> list[Push]:
        """Lease the messages that are to be pushed now; none if the subscription is pulled."""
        config = self.config
        if not config.push_config.push_endpoint:
            return []
        return [
            Push(delivery, config.name, config.push_config, config.ack_deadline_seconds)
            for delivery in self.push_flow_control.lease_from(self.backlog, now)
        ]
