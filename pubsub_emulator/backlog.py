"""State machine of one subscription's unacknowledged messages: leases, ack deadlines, backoff and dead letters.

It has no lock, thread or clock: callers pass the current time in seconds and serialize their calls.

    add ─► ready ─► leased ─► acknowledged
             ▲         │ nack, or the ack deadline passed
             └ delayed ┴─► dead letter, after max_attempts

With message ordering, a message becomes ready only when all earlier messages of its ordering key are removed.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from pubsub_emulator.errors import InvalidArgument
from pubsub_emulator.message import Message


@dataclass(frozen=True, slots=True)
class DeliveryPolicy:
    """The delivery settings of a subscription; `max_attempts` 0 turns dead-lettering off."""

    ack_deadline_s: float = 10.0
    minimum_backoff_s: float = 0.0
    maximum_backoff_s: float = 0.0
    max_attempts: int = 0
    ordered: bool = False

    def backoff_s(self, attempt: int) -> float:
        """Return the delay after the `attempt`-th failed delivery (from 1), by exponential backoff."""
        return min(self.maximum_backoff_s, self.minimum_backoff_s * 2.0 ** min(attempt - 1, 64))


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message leased to one receiver under an ack id."""

    ack_id: str
    message: Message
    attempt: int  # from 1; 0 without a dead letter policy, as in Pub/Sub


@dataclass(slots=True)
class _Entry:
    message: Message
    attempt: int = 0
    leased: bool = False
    expires_at: float | None = None  # end of the lease or delay; None while ready, or behind its ordering key


class Backlog:
    """The unacknowledged messages of one subscription.

    Args:
        name: full name of the subscription, the prefix of its ack ids.
        policy: delivery settings; the attribute may be replaced at any time.
        forward: called with a message and its number of attempts when those are used up. It returns False if the
            dead letter topic does not exist; the message then stays in the backlog.
    """

    def __init__(self, name: str, policy: DeliveryPolicy, forward: Callable[[Message, int], bool]) -> None:
        self.policy = policy
        self._name = name
        self._forward = forward
        self._entries: dict[str, _Entry] = {}
        self._ready: deque[str] = deque()
        # A heap of (expires_at, message id). An item is stale if the entry's `expires_at` differs.
        self._timers: list[tuple[float, str]] = []
        self._ordering_queues: dict[str, deque[str]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, message: Message) -> None:
        """Add a published message."""
        self._entries[message.message_id] = _Entry(message)
        if self.policy.ordered and message.ordering_key:
            queue = self._ordering_queues.setdefault(message.ordering_key, deque())
            queue.append(message.message_id)
            if len(queue) > 1:
                return
        self._ready.append(message.message_id)

    def lease(self, now: float, deadline_s: float | None = None) -> Delivery | None:
        """Lease the next ready message to one receiver, or return None if none is ready.

        Args:
            now: current time in seconds.
            deadline_s: ack deadline of this lease; that of the policy if None.
        """
        self.advance(now)
        while self._ready:
            message_id = self._ready.popleft()
            entry = self._entries.get(message_id)
            if entry is None:  # acknowledged after its deadline, when it was ready again
                continue
            entry.attempt += 1
            entry.leased = True
            self._set_timer(entry, now + (self.policy.ack_deadline_s if deadline_s is None else deadline_s))
            ack_id = f"{self._name}:{message_id}:{entry.attempt}"
            return Delivery(ack_id, entry.message, entry.attempt if self.policy.max_attempts else 0)
        return None

    def acknowledge(self, ack_id: str) -> None:
        """Remove the message, unless it was delivered again under another ack id.

        An ack after the deadline counts as long as the message was not delivered again.
        """
        entry = self._find_delivered(ack_id)
        if entry is not None:
            self._remove(entry)

    def extend(self, ack_id: str, deadline_s: float, now: float) -> None:
        """Move the ack deadline to `now + deadline_s`; 0 is a nack. Does nothing if the lease is over."""
        self.advance(now)
        entry = self._find_delivered(ack_id)
        if entry is None or not entry.leased:
            return
        if deadline_s > 0:
            self._set_timer(entry, now + deadline_s)
        else:
            self._end_lease(entry, now)

    def is_outstanding(self, ack_id: str) -> bool:
        """Return whether the delivery's lease is still running."""
        entry = self._find_delivered(ack_id)
        return entry is not None and entry.leased

    def advance(self, now: float) -> bool:
        """End the leases and delays that are over by `now`, and return whether there were any."""
        changed = False
        while (expires_at := self.next_expiry()) is not None and expires_at <= now:
            entry = self._entries[heapq.heappop(self._timers)[1]]
            changed = True
            if entry.leased:
                self._end_lease(entry, now)
            else:
                entry.expires_at = None
                self._ready.append(entry.message.message_id)
        return changed

    def next_expiry(self) -> float | None:
        """Return the time at which the next lease or delay ends, or None if there is none."""
        while self._timers:
            expires_at, message_id = self._timers[0]
            entry = self._entries.get(message_id)
            if entry is not None and entry.expires_at == expires_at:
                return expires_at
            heapq.heappop(self._timers)
        return None

    def _end_lease(self, entry: _Entry, now: float) -> None:
        entry.leased = False
        entry.expires_at = None
        exhausted = 0 < self.policy.max_attempts <= entry.attempt
        if exhausted and self._forward(entry.message, entry.attempt):
            self._remove(entry)
            return
        delay_s = self.policy.backoff_s(entry.attempt)
        if delay_s > 0:
            self._set_timer(entry, now + delay_s)
        else:
            self._ready.append(entry.message.message_id)

    def _remove(self, entry: _Entry) -> None:
        del self._entries[entry.message.message_id]
        queue = self._ordering_queues.get(entry.message.ordering_key)
        if queue is None:
            return
        queue.popleft()  # the entry itself: only the first of an ordering key is ever delivered
        if queue:
            self._ready.append(queue[0])
        else:
            del self._ordering_queues[entry.message.ordering_key]

    def _set_timer(self, entry: _Entry, expires_at: float) -> None:
        entry.expires_at = expires_at
        heapq.heappush(self._timers, (expires_at, entry.message.message_id))

    def _find_delivered(self, ack_id: str) -> _Entry | None:
        """Return the entry whose latest delivery has this ack id, or None if there is none.

        Raises:
            InvalidArgument: the ack id is malformed or of another subscription.
        """
        name, message_id, attempt = [*ack_id.rsplit(":", 2), "", ""][:3]
        if name != self._name or not attempt.isdigit():
            raise InvalidArgument(f"Invalid ack id (ack_id={ack_id[:256]})")
        entry = self._entries.get(message_id)
        return entry if entry is not None and entry.attempt == int(attempt) else None
