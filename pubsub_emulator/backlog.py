"""The messages of one subscription: who holds them, until when, and how often they were delivered.

A state machine without locks, threads or a clock: whoever calls passes the time and keeps the others out.

    add ─► ready ─► leased ─► acknowledged
             ▲         │ given back, or its deadline passed
             └ delayed ┴─► dead letter, after max_attempts

With ordering on, a message waits behind the earlier ones of its key until they are gone.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pubsub_emulator.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Callable

    from pubsub_emulator.message import Message


@dataclass(frozen=True, slots=True)
class Policy:
    """How a subscription delivers. With max_attempts 0 nothing is dead-lettered."""

    ack_deadline_s: float = 10.0
    minimum_backoff_s: float = 0.0
    maximum_backoff_s: float = 0.0
    max_attempts: int = 0
    ordered: bool = False

    def backoff_s(self, attempt: int) -> float:
        """How long a message rests when its attempt-th delivery (from 1) failed: twice as long each time."""
        return min(self.maximum_backoff_s, self.minimum_backoff_s * 2.0 ** min(attempt - 1, 64))


@dataclass(frozen=True, slots=True)
class Delivery:
    """One holder's hold on a message. `attempt` is 0 where nothing is dead-lettered, as Pub/Sub has it."""

    ack_id: str
    message: Message
    attempt: int


@dataclass(slots=True)
class _Entry:
    message: Message
    attempt: int = 0
    leased: bool = False
    until: float | None = None  # the end of the lease or of the delay; None while ready, or behind its key


class Backlog:
    """Everything published to one subscription and not yet acknowledged.

    `forward(message, attempts)` takes a message whose attempts are used up. It answers False when it has
    nowhere to put it, and then the message stays.
    """

    def __init__(self, name: str, policy: Policy, forward: Callable[[Message, int], bool]) -> None:
        self.policy = policy
        self._name = name
        self._forward = forward
        self._entries: dict[str, _Entry] = {}
        self._ready: deque[str] = deque()
        self._timers: list[tuple[float, str]] = []  # a heap; stale where the entry's `until` is another
        self._keys: dict[str, deque[str]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, message: Message) -> None:
        self._entries[message.message_id] = _Entry(message)
        if self.policy.ordered and message.ordering_key:
            queue = self._keys.setdefault(message.ordering_key, deque())
            queue.append(message.message_id)
            if len(queue) > 1:
                return
        self._ready.append(message.message_id)

    def lease(self, now: float, deadline_s: float | None = None) -> Delivery | None:
        """Hand the next message to a holder, who has it alone until the deadline; None if none is ready."""
        self.advance(now)
        while self._ready:
            message_id = self._ready.popleft()
            entry = self._entries.get(message_id)
            if entry is None:  # acknowledged late, when it was ready again
                continue
            entry.attempt += 1
            entry.leased = True
            self._set_timer(entry, now + (self.policy.ack_deadline_s if deadline_s is None else deadline_s))
            ack_id = f"{self._name}:{message_id}:{entry.attempt}"
            return Delivery(ack_id, entry.message, entry.attempt if self.policy.max_attempts else 0)
        return None

    def acknowledge(self, ack_id: str) -> None:
        """Forget the message. Too late is fine, as long as nobody else has got it since."""
        entry = self._delivered(ack_id)
        if entry is not None:
            self._drop(entry)

    def extend(self, ack_id: str, deadline_s: float, now: float) -> None:
        """Move the end of a lease to `now + deadline_s`; 0 gives the message back."""
        self.advance(now)
        entry = self._delivered(ack_id)
        if entry is None or not entry.leased:
            return
        if deadline_s > 0:
            self._set_timer(entry, now + deadline_s)
        else:
            self._fail(entry, now)

    def holds(self, ack_id: str) -> bool:
        """Whether this delivery is still outstanding."""
        entry = self._delivered(ack_id)
        return entry is not None and entry.leased

    def advance(self, now: float) -> bool:
        """End the leases and delays that are over; whether there were any."""
        changed = False
        while (at := self.next_event()) is not None and at <= now:
            entry = self._entries[heapq.heappop(self._timers)[1]]
            changed = True
            if entry.leased:
                self._fail(entry, now)
            else:
                entry.until = None
                self._ready.append(entry.message.message_id)
        return changed

    def next_event(self) -> float | None:
        """When the next lease or delay ends."""
        while self._timers:
            at, message_id = self._timers[0]
            entry = self._entries.get(message_id)
            if entry is not None and entry.until == at:
                return at
            heapq.heappop(self._timers)
        return None

    def _fail(self, entry: _Entry, now: float) -> None:
        entry.leased = False
        entry.until = None
        used_up = 0 < self.policy.max_attempts <= entry.attempt
        if used_up and self._forward(entry.message, entry.attempt):
            self._drop(entry)
            return
        delay_s = self.policy.backoff_s(entry.attempt)
        if delay_s > 0:
            self._set_timer(entry, now + delay_s)
        else:
            self._ready.append(entry.message.message_id)

    def _drop(self, entry: _Entry) -> None:
        del self._entries[entry.message.message_id]
        queue = self._keys.get(entry.message.ordering_key)
        if queue is None:
            return
        queue.popleft()  # it is the first: only the first of a key is ever delivered
        if queue:
            self._ready.append(queue[0])
        else:
            del self._keys[entry.message.ordering_key]

    def _set_timer(self, entry: _Entry, at: float) -> None:
        entry.until = at
        heapq.heappush(self._timers, (at, entry.message.message_id))

    def _delivered(self, ack_id: str) -> _Entry | None:
        """The entry whose latest delivery this is. InvalidArgument if it is no ack id of this subscription."""
        name, message_id, attempt = [*ack_id.rsplit(":", 2), "", ""][:3]
        if name != self._name or not attempt.isdigit():
            raise InvalidArgument(f"Invalid ack id (ack_id={ack_id})")
        entry = self._entries.get(message_id)
        return entry if entry is not None and entry.attempt == int(attempt) else None
