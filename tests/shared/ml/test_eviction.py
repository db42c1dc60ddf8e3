"""Who leaves a full cache: tables, and whatever weights and owners there are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.ml.eviction import CacheEntry, select_evictions

KEYS = st.integers(0, 9)


def held(text):
    """`a3 b4!`: a tenant's letter, the weight, and whether it is in use; keys are numbers from 0."""
    return [
        CacheEntry(index, each[0], int(each[1:].rstrip("!")), each.endswith("!"))
        for index, each in enumerate(text.split())
    ]


@pytest.mark.parametrize(
    ("others", "new", "gone"),
    [
        ("", "a5", []),
        ("", "a6", None),  # more than half of ten
        ("a2", "b5", []),
        ("a4 b4", "c2", []),
        ("a4 b4", "c3", [0]),
        ("a4! b4", "c3", [1]),
        ("a4! b4!", "c3", None),
        ("a1 b2 c3 d4", "e3", [0, 1]),
        ("b2 a2 a2", "a2", [1]),  # its own first, above half
        ("b2 a2 a2!", "a2", [1]),
        ("b2 a2! a2!", "a2", None),
        ("b4 a1 c4", "a2", [0]),  # the least recently used of all, below half
        ("a1 b4 c4", "a2", [0]),
        ("a5 b5", "a5", [0]),
        ("a5 b5!", "c5", [0]),
        ("a5 b5! c0", "a5", [0]),
    ],
)
def test_who_leaves_ten_bytes(others, new, gone):
    [newcomer] = held(new)
    leaves = select_evictions(newcomer, held(others), 10)
    assert gone == (None if leaves is None else [each.key for each in leaves])


def test_without_a_budget_there_is_room_for_all():
    assert select_evictions(held("a9")[0], held("a9 b9"), 0) == []


@st.composite
def caches(draw):
    """A cache as it may be: within the budget, and nobody above half of it."""
    budget = draw(st.integers(1, 60))
    others = []
    for key in range(draw(st.integers(0, 8))):
        each = CacheEntry(key, draw(st.sampled_from("abc")), draw(st.integers(0, 30)), draw(st.booleans()))
        own = sum(other.size_bytes for other in others if other.owner == each.owner)
        if (
            own + each.size_bytes <= budget // 2
            and sum(other.size_bytes for other in others) + each.size_bytes <= budget
        ):
            others.append(each)
    return CacheEntry("new", draw(st.sampled_from("abc")), draw(st.integers(0, 60))), others, budget


@given(caches())
def test_whoever_leaves_what_stays_fits_and_nobody_holds_more_than_half(cache):
    new, others, budget = cache
    gone = select_evictions(new, others, budget)
    if gone is None:
        return
    stay = [each for each in others if each not in gone] + [new]
    assert sum(each.size_bytes for each in stay) <= budget
    for owner in "abc":
        assert sum(each.size_bytes for each in stay if each.owner == owner) <= budget // 2
    assert not any(each.in_use for each in gone)


@given(caches())
def test_others_leave_only_where_they_must_and_in_the_order_of_their_use(cache):
    new, others, budget = cache
    gone = select_evictions(new, others, budget) or []
    foreign = [each for each in gone if each.owner != new.owner]
    if foreign:
        last = foreign[-1]
        stay = [each for each in others if each not in gone] + [new, last]
        assert sum(each.size_bytes for each in stay) > budget, "the last to leave was one too many"
        before = [each for each in others[: others.index(last)] if not each.in_use]
        assert all(each in gone for each in before), "who was used less recently left before"


@given(caches())
def test_what_does_not_fit_could_not(cache):
    new, others, budget = cache
    if select_evictions(new, others, budget) is None:
        stuck = [each for each in others if each.in_use] + [new]
        own = sum(each.size_bytes for each in stuck if each.owner == new.owner)
        assert own > budget // 2 or sum(each.size_bytes for each in stuck) > budget
