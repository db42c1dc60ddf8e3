"""Who holds a message, until when: told with a clock that is a number."""

from datetime import UTC, datetime

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pubsub_emulator.backlog import Backlog, DeliveryPolicy
from pubsub_emulator.errors import InvalidArgument
from pubsub_emulator.message import Message

NAME = "projects/p/subscriptions/sub"


def message(message_id, *, key=""):
    return Message(message_id, datetime(2026, 1, 1, tzinfo=UTC), b"x", {}, key)


def backlog(*published, forward=lambda *_: True, **policy):
    """A backlog of messages; "k/1" is message 1 of the ordering key k."""
    made = Backlog(NAME, DeliveryPolicy(**policy), forward)
    for name in published:
        key, _, message_id = name.rpartition("/")
        made.add(message(message_id, key=key))
    return made


def leased(of, now, deadline_s=None):
    """The ids that can be had now."""
    ids = []
    while (delivery := of.lease(now, deadline_s)) is not None:
        ids.append(delivery.message.message_id)
    return ids


def test_empty_backlog_leases_nothing_and_has_no_expiry():
    empty = backlog()
    assert empty.lease(0) is None
    assert empty.next_expiry() is None
    assert len(empty) == 0


def test_messages_are_leased_once_in_publish_order():
    assert leased(backlog("1", "2", "3"), 0) == ["1", "2", "3"]


def test_acknowledged_message_is_removed():
    held = backlog("1")
    held.acknowledge(held.lease(0).ack_id)
    assert len(held) == 0
    assert leased(held, 1000) == []


@pytest.mark.parametrize(
    ("deadline_s", "now", "again"),
    [
        (None, 9.9, []),
        (None, 10.0, ["1"]),
        (60, 59.9, []),
        (60, 60.0, ["1"]),
    ],
)
def test_lease_lasts_until_its_ack_deadline(deadline_s, now, again):
    held = backlog("1", ack_deadline_s=10)
    held.lease(0, deadline_s)
    assert leased(held, now) == again


@pytest.mark.parametrize(
    ("extended_at", "by_s", "now", "again"),
    [
        (5, 0, 5, ["1"]),  # given back
        (5, 1, 5.9, []),  # a deadline can come nearer
        (5, 1, 6.0, ["1"]),
        (5, 60, 64.9, []),
        (5, 60, 65.0, ["1"]),
        (10, 60, 10, ["1"]),  # too late: the lease was over
    ],
)
def test_extend_moves_the_deadline_of_a_running_lease(extended_at, by_s, now, again):
    held = backlog("1", ack_deadline_s=10)
    held.extend(held.lease(0).ack_id, by_s, extended_at)
    assert leased(held, now) == again


def test_late_ack_counts_until_message_is_delivered_again():
    held = backlog("1", ack_deadline_s=10)
    first = held.lease(0)
    held.advance(10)
    held.acknowledge(first.ack_id)
    assert leased(held, 10) == []
    assert len(held) == 0


def test_ack_and_nack_of_an_earlier_delivery_do_nothing():
    held = backlog("1", ack_deadline_s=10)
    first, second = held.lease(0), held.lease(10)
    held.acknowledge(first.ack_id)
    held.extend(first.ack_id, 0, 11)
    assert held.is_outstanding(second.ack_id)
    assert not held.is_outstanding(first.ack_id)


@pytest.mark.parametrize("ack_id", ["", "x", f"{NAME}:1", f"{NAME}:1:x", "projects/p/subscriptions/other:1:1"])
def test_invalid_ack_id_is_rejected(ack_id):
    with pytest.raises(InvalidArgument, match="Invalid ack id"):
        backlog("1").acknowledge(ack_id)


@pytest.mark.parametrize(
    ("shortest_s", "longest_s", "waits_s"),
    [
        (0, 0, [0, 0, 0]),
        (10, 600, [10, 20, 40, 80, 160, 320, 600, 600]),
        (0.1, 0.3, [0.1, 0.2, 0.3, 0.3]),
    ],
)
def test_backoff_doubles_up_to_its_maximum(shortest_s, longest_s, waits_s):
    policy = DeliveryPolicy(minimum_backoff_s=shortest_s, maximum_backoff_s=longest_s)
    assert [policy.backoff_s(attempt) for attempt in range(1, len(waits_s) + 1)] == waits_s
    assert policy.backoff_s(100_000) == longest_s


@pytest.mark.parametrize("fails_by", ["being given back", "its deadline"])
def test_failed_message_is_redelivered_after_the_backoff(fails_by):
    held = backlog("1", ack_deadline_s=10, minimum_backoff_s=20, maximum_backoff_s=600)
    first = held.lease(0)
    if fails_by == "being given back":
        held.extend(first.ack_id, 0, 10)
    held.advance(10)
    assert leased(held, 29.9) == []
    assert held.next_expiry() == 30
    assert leased(held, 30) == ["1"]


def test_delayed_message_does_not_delay_others():
    held = backlog("1", "2", minimum_backoff_s=20, maximum_backoff_s=600)
    held.extend(held.lease(0).ack_id, 0, 0)
    assert leased(held, 0) == ["2"]


@pytest.mark.parametrize(("max_attempts", "told"), [(0, [0, 0, 0, 0, 0, 0]), (5, [1, 2, 3, 4, 5])])
def test_attempts_are_counted_and_limited_only_with_dead_letters(max_attempts, told):
    dead = []
    held = backlog("1", max_attempts=max_attempts, forward=lambda *letter: dead.append(letter) or True)
    attempts = []
    while len(attempts) < 6 and (delivery := held.lease(0)) is not None:
        attempts.append(delivery.attempt)
        held.extend(delivery.ack_id, 0, 0)
    assert attempts == told
    assert [(letter.message_id, attempt) for letter, attempt in dead] == ([("1", 5)] if max_attempts else [])
    assert len(held) == (0 if max_attempts else 1)


def test_message_stays_if_dead_letter_topic_does_not_exist():
    held = backlog("1", max_attempts=1, forward=lambda *_: False)
    for _ in range(3):
        held.extend(held.lease(0).ack_id, 0, 0)
    assert leased(held, 0) == ["1"]


def test_ordering_key_is_ignored_without_ordering():
    assert leased(backlog("k/1", "k/2"), 0) == ["1", "2"]


def test_ordered_message_waits_for_earlier_messages_of_its_key_only():
    held = backlog("k/1", "k/2", "j/3", "4", ordered=True)
    first = held.lease(0)
    assert leased(held, 0) == ["3", "4"]
    held.acknowledge(first.ack_id)
    assert leased(held, 0) == ["2"]


def test_failed_ordered_message_stays_first_of_its_key():
    held = backlog("k/1", "k/2", ordered=True)
    held.extend(held.lease(0).ack_id, 0, 0)
    assert leased(held, 0) == ["1"]


def test_dead_letter_releases_next_message_of_its_key():
    held = backlog("k/1", "k/2", ordered=True, max_attempts=1)
    held.extend(held.lease(0).ack_id, 0, 0)
    assert leased(held, 0) == ["2"]


def test_nacked_message_is_leased_once_after_its_old_deadline():
    held = backlog("1", ack_deadline_s=10)
    held.extend(held.lease(0).ack_id, 0, 5)
    assert leased(held, 20) == ["1"]


@pytest.mark.parametrize("deadline_s", [0, 60])
def test_extend_of_an_ended_lease_does_nothing(deadline_s):
    held = backlog("1", ack_deadline_s=10)
    first = held.lease(0)
    held.extend(first.ack_id, 0, 5)
    held.extend(first.ack_id, deadline_s, 5)
    assert leased(held, 5) == ["1"]
    assert held.next_expiry() == 15


class Story(RuleBasedStateMachine):
    """Anything may happen in any order; nothing is lost and nobody holds what another holds."""

    @initialize(
        backoff_s=st.sampled_from([0, 0.5]), max_attempts=st.sampled_from([0, 2, 3]), ordered=st.booleans()
    )
    def begin(self, backoff_s, max_attempts, ordered):
        self.now = 0.0
        self.waiting = []  # (message id, key), oldest first: neither acknowledged nor dead
        self.published = 0
        self.acknowledged = 0
        self.dead = 0
        self.deliveries = []  # (ack id, message id), oldest first
        self.holders = {}  # message id -> (ack id, deadline) of its last delivery
        self.ordered = ordered
        policy = DeliveryPolicy(10, backoff_s, 2 * backoff_s, max_attempts, ordered)
        self.backlog = Backlog(NAME, policy, self.bury)

    def bury(self, letter, _):
        self.dead += 1
        self.forget(letter.message_id)
        return True

    def forget(self, message_id):
        """Fails if it was forgotten before."""
        self.waiting.remove(next(entry for entry in self.waiting if entry[0] == message_id))

    @rule(key=st.sampled_from(["", "k"]))
    def publish(self, key):
        self.published += 1
        self.waiting.append((str(self.published), key))
        self.backlog.add(message(str(self.published), key=key))

    @rule(seconds=st.sampled_from([0.5, 1, 5]))
    def wait(self, seconds):
        self.now += seconds

    @rule(deadline_s=st.sampled_from([1, 2]))
    def pull(self, deadline_s):
        delivery = self.backlog.lease(self.now, deadline_s)
        if delivery is None:
            return
        message_id, key = delivery.message.message_id, delivery.message.ordering_key
        assert self.holders.get(message_id, ("", self.now))[1] <= self.now, "delivered while another holds it"
        if self.ordered and key:
            assert (message_id, key) == next(entry for entry in self.waiting if entry[1] == key)
        assert (message_id, key) in self.waiting
        self.holders[message_id] = (delivery.ack_id, self.now + deadline_s)
        self.deliveries.append((delivery.ack_id, message_id))

    @precondition(lambda self: self.deliveries)
    @rule(back=st.integers(1, 4))
    def acknowledge(self, back):
        ack_id, message_id = self.deliveries[-min(back, len(self.deliveries))]
        self.backlog.acknowledge(ack_id)
        if self.holders.get(message_id, ("",))[0] == ack_id:
            del self.holders[message_id]
            if any(entry[0] == message_id for entry in self.waiting):
                self.forget(message_id)
                self.acknowledged += 1

    @precondition(lambda self: self.deliveries)
    @rule(back=st.integers(1, 4), deadline_s=st.sampled_from([0, 1, 5]))
    def extend(self, back, deadline_s):
        ack_id, message_id = self.deliveries[-min(back, len(self.deliveries))]
        last, deadline = self.holders.get(message_id, ("", 0))
        self.backlog.extend(ack_id, deadline_s, self.now)
        if last == ack_id and deadline > self.now:
            self.holders[message_id] = (ack_id, self.now + deadline_s)

    @invariant()
    def every_message_is_acknowledged_or_dead_or_still_here(self):
        self.backlog.advance(self.now)
        assert len(self.backlog) == len(self.waiting) == self.published - self.acknowledged - self.dead

    @invariant()
    def who_got_a_message_last_holds_it_until_the_deadline_and_nobody_else_does(self):
        for ack_id, message_id in self.deliveries:
            last, deadline = self.holders.get(message_id, ("", 0))
            assert self.backlog.is_outstanding(ack_id) == (last == ack_id and deadline > self.now)

    def teardown(self):
        """Whatever is still here can be had, sooner or later, until it is acknowledged."""
        while len(self.backlog):
            while (delivery := self.backlog.lease(self.now)) is not None:
                self.backlog.acknowledge(delivery.ack_id)
            self.now = self.backlog.next_expiry() or self.now
            assert self.backlog.advance(self.now) or not len(self.backlog), "nobody will ever get it"


Story.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestStory = Story.TestCase
