"""select_evictions: a table of cases, and its properties for any sizes and owners."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.ml.eviction import CacheEntry, select_evictions

MAX_BYTES = 10

Case = tuple[CacheEntry, dict[int, CacheEntry], int]  # a new entry, the cached ones, and the size of the cache


def parse_entry(text: str) -> CacheEntry:
    """Return the entry that `a3` or `b4!` describes: owner, size, and whether it is in use."""
    return CacheEntry(text[0], int(text[1:].rstrip("!")), text.endswith("!"))


def parse_entries(text: str) -> dict[int, CacheEntry]:
    return {index: parse_entry(each) for index, each in enumerate(text.split())}


def total_bytes(*entries: CacheEntry, owner: str | None = None) -> int:
    return sum(entry.size_bytes for entry in entries if owner in {None, entry.owner})


@pytest.mark.parametrize(
    ("cached", "new", "evicted"),
    [
        pytest.param("", "a5", [], id="half of an empty cache"),
        pytest.param("", "a6", None, id="more than half of an empty cache"),
        pytest.param("a2", "b5", [], id="fits"),
        pytest.param("a4 b4", "c2", [], id="fits exactly"),
        pytest.param("a4 b4", "c3", [0], id="the least recently used"),
        pytest.param("a4! b4", "c3", [1], id="not one in use"),
        pytest.param("a4! b4!", "c3", None, id="all in use"),
        pytest.param("a1 b2 c3 d4", "e3", [0, 1], id="as many as needed"),
        pytest.param("b2 a2 a2", "a2", [1], id="its own first, above half"),
        pytest.param("b2 a2 a2!", "a2", [1], id="its own that is not in use"),
        pytest.param("b2 a2! a2!", "a2", None, id="all its own in use, above half"),
        pytest.param("b4 a1 c4", "a2", [0], id="another owner's first, below half"),
        pytest.param("a1 b4 c4", "a2", [0], id="its own if least recently used, below half"),
        pytest.param("a5 b5", "a5", [0], id="its own half is full"),
        pytest.param("a5 b5!", "c5", [0], id="another owner's half"),
        pytest.param("a5 b5! c0", "a5", [0], id="not an empty one"),
    ],
)
def test_evicts_from_a_cache_of_10_bytes(cached: str, new: str, evicted: list[int] | None) -> None:
    assert select_evictions(parse_entry(new), parse_entries(cached), MAX_BYTES) == evicted


def test_evicts_nothing_without_a_size_limit() -> None:
    assert select_evictions(parse_entry("a9"), parse_entries("a9 b9"), 0) == []


@st.composite
def caches(draw: st.DrawFn) -> Case:
    """Draw a cache within its size, in which no owner has more than half, and a new entry."""
    max_bytes = draw(st.integers(1, 60))
    cached: dict[int, CacheEntry] = {}
    for key in range(draw(st.integers(0, 8))):
        entry = CacheEntry(draw(st.sampled_from("abc")), draw(st.integers(0, 30)), draw(st.booleans()))
        entries = *cached.values(), entry
        if total_bytes(*entries, owner=entry.owner) <= max_bytes // 2 and total_bytes(*entries) <= max_bytes:
            cached[key] = entry
    return CacheEntry(draw(st.sampled_from("abc")), draw(st.integers(0, 60))), cached, max_bytes


@given(caches())
def test_after_eviction_all_fits_and_no_owner_exceeds_half(case: Case) -> None:
    new, cached, max_bytes = case

    evicted = select_evictions(new, cached, max_bytes)

    if evicted is None:
        return
    kept = [entry for key, entry in cached.items() if key not in evicted] + [new]
    assert total_bytes(*kept) <= max_bytes
    for owner in "abc":
        assert total_bytes(*kept, owner=owner) <= max_bytes // 2
    assert not any(cached[key].in_use for key in evicted)


@given(caches())
def test_other_owners_are_evicted_only_if_needed_and_least_recently_used_first(case: Case) -> None:
    new, cached, max_bytes = case

    evicted = select_evictions(new, cached, max_bytes) or []

    foreign = [key for key in evicted if cached[key].owner != new.owner]
    if foreign:
        last = foreign[-1]
        kept = [entry for key, entry in cached.items() if key not in evicted] + [new, cached[last]]
        assert total_bytes(*kept) > max_bytes, "without the last eviction it would not fit"
        older = [key for key in cached if key < last and not cached[key].in_use]
        assert all(key in evicted for key in older), "less recently used entries are evicted before"


@given(caches())
def test_an_entry_is_rejected_only_if_entries_in_use_leave_too_little(case: Case) -> None:
    new, cached, max_bytes = case

    if select_evictions(new, cached, max_bytes) is None:
        kept = [entry for entry in cached.values() if entry.in_use] + [new]
        assert total_bytes(*kept, owner=new.owner) > max_bytes // 2 or total_bytes(*kept) > max_bytes
