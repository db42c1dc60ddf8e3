"""The state machine of a backlog, with a simulated clock."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pubsub_emulator.backlog import Backlog, Delivery, DeliveryPolicy
from pubsub_emulator.errors import InvalidArgument
from pubsub_emulator.message import Message

NAME = "projects/p/subscriptions/sub"


def message(message_id: str, *, key: str = "") -> Message:
    return Message(message_id, datetime(2026, 1, 1, tzinfo=UTC), b"x", {}, key)


def backlog(*published: str, forward: Callable[[Message, int], bool] = lambda *_: True, **policy: Any) -> Backlog:
    """Return a backlog of messages; "k/1" is message 1 of the ordering key k."""
    filled = Backlog(NAME, DeliveryPolicy(**policy), forward)
    for name in published:
        key, _, message_id = name.rpartition("/")
        filled.add(message(message_id, key=key))
    return filled


def lease(messages: Backlog, now: float, deadline_s: float | None = None) -> Delivery:
    """Lease one message, which must be ready."""
    delivery = messages.lease(now, deadline_s)
    assert delivery is not None
    return delivery


def leased(messages: Backlog, now: float) -> list[str]:
    """Lease all that is ready, and return the message ids."""
    ids = []
    while (delivery := messages.lease(now)) is not None:
        ids.append(delivery.message.message_id)
    return ids


def test_empty_backlog_leases_nothing_and_has_no_expiry() -> None:
    empty = backlog()
    assert empty.lease(0) is None
    assert empty.next_expiry() is None
    assert len(empty) == 0


def test_messages_are_leased_once_in_publish_order() -> None:
    assert leased(backlog("1", "2", "3"), 0) == ["1", "2", "3"]


def test_acknowledged_message_is_removed() -> None:
    messages = backlog("1")
    messages.acknowledge(lease(messages, 0).ack_id)
    assert len(messages) == 0
    assert leased(messages, 1000) == []


@pytest.mark.parametrize(
    ("deadline_s", "now", "expected"),
    [
        (None, 9.9, []),
        (None, 10.0, ["1"]),
        (60, 59.9, []),
        (60, 60.0, ["1"]),
    ],
)
def test_lease_lasts_until_its_ack_deadline(deadline_s: float | None, now: float, expected: list[str]) -> None:
    messages = backlog("1", ack_deadline_s=10)
    lease(messages, 0, deadline_s)
    assert leased(messages, now) == expected


@pytest.mark.parametrize(
    ("extended_at", "by_s", "now", "expected"),
    [
        (5, 0, 5, ["1"]),  # a nack
        (5, 1, 5.9, []),  # a deadline can come nearer
        (5, 1, 6.0, ["1"]),
        (5, 60, 64.9, []),
        (5, 60, 65.0, ["1"]),
        (10, 60, 10, ["1"]),  # the lease was over
    ],
)
def test_extend_moves_the_deadline_of_a_running_lease(
    extended_at: float, by_s: float, now: float, expected: list[str]
) -> None:
    messages = backlog("1", ack_deadline_s=10)
    messages.extend(lease(messages, 0).ack_id, by_s, extended_at)
    assert leased(messages, now) == expected


def test_late_ack_counts_until_message_is_delivered_again() -> None:
    messages = backlog("1", ack_deadline_s=10)
    first = lease(messages, 0)
    messages.advance(10)
    messages.acknowledge(first.ack_id)
    assert leased(messages, 10) == []
    assert len(messages) == 0


def test_ack_and_nack_of_an_earlier_delivery_do_nothing() -> None:
    messages = backlog("1", ack_deadline_s=10)
    first, second = lease(messages, 0), lease(messages, 10)
    messages.acknowledge(first.ack_id)
    messages.extend(first.ack_id, 0, 11)
    assert messages.is_outstanding(second.ack_id)
    assert not messages.is_outstanding(first.ack_id)


@pytest.mark.parametrize("ack_id", ["", "x", f"{NAME}:1", f"{NAME}:1:x", "projects/p/subscriptions/other:1:1"])
def test_invalid_ack_id_is_rejected(ack_id: str) -> None:
    with pytest.raises(InvalidArgument, match="Invalid ack id"):
        backlog("1").acknowledge(ack_id)


@pytest.mark.parametrize(
    ("minimum_s", "maximum_s", "delays_s"),
    [
        (0, 0, [0, 0, 0]),
        (10, 600, [10, 20, 40, 80, 160, 320, 600, 600]),
        (0.1, 0.3, [0.1, 0.2, 0.3, 0.3]),
    ],
)
def test_backoff_doubles_up_to_its_maximum(minimum_s: float, maximum_s: float, delays_s: list[float]) -> None:
    policy = DeliveryPolicy(minimum_backoff_s=minimum_s, maximum_backoff_s=maximum_s)
    assert [policy.backoff_s(attempt) for attempt in range(1, len(delays_s) + 1)] == delays_s
    assert policy.backoff_s(100_000) == maximum_s


@pytest.mark.parametrize("failure", ["nack", "deadline"])
def test_failed_message_is_redelivered_after_the_backoff(failure: str) -> None:
    messages = backlog("1", ack_deadline_s=10, minimum_backoff_s=20, maximum_backoff_s=600)
    first = lease(messages, 0)
    if failure == "nack":
        messages.extend(first.ack_id, 0, 10)
    messages.advance(10)
    assert leased(messages, 29.9) == []
    assert messages.next_expiry() == 30
    assert leased(messages, 30) == ["1"]


def test_delayed_message_does_not_delay_others() -> None:
    messages = backlog("1", "2", minimum_backoff_s=20, maximum_backoff_s=600)
    messages.extend(lease(messages, 0).ack_id, 0, 0)
    assert leased(messages, 0) == ["2"]


@pytest.mark.parametrize(("max_attempts", "expected_attempts"), [(0, [0, 0, 0, 0, 0, 0]), (5, [1, 2, 3, 4, 5])])
def test_attempts_are_counted_and_limited_only_with_dead_letters(
    max_attempts: int, expected_attempts: list[int]
) -> None:
    dead_letters: list[tuple[str, int]] = []

    def forward(letter: Message, attempt: int) -> bool:
        dead_letters.append((letter.message_id, attempt))
        return True

    messages = backlog("1", max_attempts=max_attempts, forward=forward)
    attempts: list[int] = []
    while len(attempts) < 6 and (delivery := messages.lease(0)) is not None:
        attempts.append(delivery.attempt)
        messages.extend(delivery.ack_id, 0, 0)
    assert attempts == expected_attempts
    assert dead_letters == ([("1", 5)] if max_attempts else [])
    assert len(messages) == (0 if max_attempts else 1)


def test_message_stays_if_dead_letter_topic_does_not_exist() -> None:
    messages = backlog("1", max_attempts=1, forward=lambda *_: False)
    for _ in range(3):
        messages.extend(lease(messages, 0).ack_id, 0, 0)
    assert leased(messages, 0) == ["1"]


def test_ordering_key_is_ignored_without_ordering() -> None:
    assert leased(backlog("k/1", "k/2"), 0) == ["1", "2"]


def test_ordered_message_waits_for_earlier_messages_of_its_key_only() -> None:
    messages = backlog("k/1", "k/2", "j/3", "4", ordered=True)
    first = lease(messages, 0)
    assert leased(messages, 0) == ["3", "4"]
    messages.acknowledge(first.ack_id)
    assert leased(messages, 0) == ["2"]


def test_failed_ordered_message_stays_first_of_its_key() -> None:
    messages = backlog("k/1", "k/2", ordered=True)
    messages.extend(lease(messages, 0).ack_id, 0, 0)
    assert leased(messages, 0) == ["1"]


def test_dead_letter_releases_next_message_of_its_key() -> None:
    messages = backlog("k/1", "k/2", ordered=True, max_attempts=1)
    messages.extend(lease(messages, 0).ack_id, 0, 0)
    assert leased(messages, 0) == ["2"]


def test_nacked_message_is_leased_once_after_its_old_deadline() -> None:
    messages = backlog("1", ack_deadline_s=10)
    messages.extend(lease(messages, 0).ack_id, 0, 5)
    assert leased(messages, 20) == ["1"]


@pytest.mark.parametrize("deadline_s", [0, 60])
def test_extend_of_an_ended_lease_does_nothing(deadline_s: float) -> None:
    messages = backlog("1", ack_deadline_s=10)
    first = lease(messages, 0)
    messages.extend(first.ack_id, 0, 5)
    messages.extend(first.ack_id, deadline_s, 5)
    assert leased(messages, 5) == ["1"]
    assert messages.next_expiry() == 15


class BacklogMachine(RuleBasedStateMachine):
    """Applies random operations: no message is lost, and none is leased twice at the same time."""

    @initialize(
        backoff_s=st.sampled_from([0, 0.5]), max_attempts=st.sampled_from([0, 2, 3]), ordered=st.booleans()
    )
    def begin(self, backoff_s: float, max_attempts: int, *, ordered: bool) -> None:
        self.now = 0.0
        self.waiting: list[tuple[str, str]] = []  # (message id, key), oldest first: neither acknowledged nor dead
        self.published = 0
        self.acknowledged = 0
        self.dead = 0
        self.deliveries: list[tuple[str, str]] = []  # (ack id, message id), oldest first
        self.last_deliveries: dict[str, tuple[str, float]] = {}  # by message id: (ack id, deadline)
        self.ordered = ordered
        policy = DeliveryPolicy(10, backoff_s, 2 * backoff_s, max_attempts, ordered)
        self.backlog = Backlog(NAME, policy, self.count_dead_letter)

    def count_dead_letter(self, letter: Message, _: int) -> bool:
        self.dead += 1
        self.remove(letter.message_id)
        return True

    def remove(self, message_id: str) -> None:
        """Remove a message from the model; fail if it was removed before."""
        self.waiting.remove(next(entry for entry in self.waiting if entry[0] == message_id))

    @rule(key=st.sampled_from(["", "k"]))
    def publish(self, key: str) -> None:
        self.published += 1
        self.waiting.append((str(self.published), key))
        self.backlog.add(message(str(self.published), key=key))

    @rule(seconds=st.sampled_from([0.5, 1, 5]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(deadline_s=st.sampled_from([1, 2]))
    def pull(self, deadline_s: float) -> None:
        delivery = self.backlog.lease(self.now, deadline_s)
        if delivery is None:
            return
        message_id, key = delivery.message.message_id, delivery.message.ordering_key
        assert self.last_deliveries.get(message_id, ("", self.now))[1] <= self.now, "leased twice at the same time"
        if self.ordered and key:
            assert (message_id, key) == next(entry for entry in self.waiting if entry[1] == key)
        assert (message_id, key) in self.waiting
        self.last_deliveries[message_id] = (delivery.ack_id, self.now + deadline_s)
        self.deliveries.append((delivery.ack_id, message_id))

    @precondition(lambda self: self.deliveries)
    @rule(back=st.integers(1, 4))
    def acknowledge(self, back: int) -> None:
        ack_id, message_id = self.deliveries[-min(back, len(self.deliveries))]
        self.backlog.acknowledge(ack_id)
        if self.last_deliveries.get(message_id, ("", 0.0))[0] == ack_id:
            del self.last_deliveries[message_id]
            if any(entry[0] == message_id for entry in self.waiting):
                self.remove(message_id)
                self.acknowledged += 1

    @precondition(lambda self: self.deliveries)
    @rule(back=st.integers(1, 4), deadline_s=st.sampled_from([0, 1, 5]))
    def extend(self, back: int, deadline_s: float) -> None:
        ack_id, message_id = self.deliveries[-min(back, len(self.deliveries))]
        last, deadline = self.last_deliveries.get(message_id, ("", 0.0))
        self.backlog.extend(ack_id, deadline_s, self.now)
        if last == ack_id and deadline > self.now:
            self.last_deliveries[message_id] = (ack_id, self.now + deadline_s)

    @invariant()
    def every_message_is_acknowledged_or_dead_or_in_the_backlog(self) -> None:
        self.backlog.advance(self.now)
        assert len(self.backlog) == len(self.waiting) == self.published - self.acknowledged - self.dead

    @invariant()
    def only_the_last_delivery_is_outstanding_until_its_deadline(self) -> None:
        for ack_id, message_id in self.deliveries:
            last, deadline = self.last_deliveries.get(message_id, ("", 0.0))
            assert self.backlog.is_outstanding(ack_id) == (last == ack_id and deadline > self.now)

    def teardown(self) -> None:
        """Every remaining message can be leased, sooner or later."""
        while len(self.backlog):
            while (delivery := self.backlog.lease(self.now)) is not None:
                self.backlog.acknowledge(delivery.ack_id)
            self.now = self.backlog.next_expiry() or self.now
            assert self.backlog.advance(self.now) or not len(self.backlog), "a message can never be leased"


BacklogMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestBacklogMachine = BacklogMachine.TestCase
