"""RenewingCache: bounded, and in one thread compared with a list of entries (hypothesis' stateful testing)."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from shared.ml.eviction import CacheEntry, select_evictions
from shared.ml.renewing_cache import RenewingCache

MAX_BYTES = 12
KEYS = st.tuples(st.sampled_from("ab"), st.integers(0, 2))

Key = tuple[str, int]  # owner and number


class InvalidFile(Exception):
    pass


@dataclass(frozen=True)
class File:
    """A stored file; one that is not valid fails to load."""

    generation: int
    size_bytes: int
    is_valid: bool = True


class CacheStateMachine(RuleBasedStateMachine):
    """Uploads, breaks and deletes files, and looks up, pins and expires the values made of them."""

    def __init__(self) -> None:
        super().__init__()
        self.files: dict[Key, File] = {}
        self.generation = 0
        self.pinned: set[Key] = set()
        self.expected: list[tuple[Key, File]] = []  # least recently used first
        self.cache: RenewingCache[Key, File] = RenewingCache(
            load=self.load,
            changed=self.changed,
            refresh_s=0.0,
            select_evictions=self.select_evictions,
            size=lambda file: file.size_bytes,
        )

    def load(self, key: Key) -> File:
        if key not in self.files:
            raise FileNotFoundError(key)
        if not self.files[key].is_valid:
            raise InvalidFile(key)
        return self.files[key]

    def changed(self, key: Key, file: File) -> bool:
        if key not in self.files:
            raise FileNotFoundError(key)
        return self.files[key].generation != file.generation

    def select_evictions(self, key: Key, file: File, others: Mapping[Key, File]) -> list[Key] | None:
        entries = {
            other_key: CacheEntry(other_key[0], other.size_bytes, other_key in self.pinned)
            for other_key, other in others.items()
        }
        return select_evictions(CacheEntry(key[0], file.size_bytes), entries, MAX_BYTES)

    @rule(key=KEYS, size_bytes=st.integers(1, 8), is_valid=st.sampled_from([True, True, True, False]))
    def upload(self, key: Key, size_bytes: int, *, is_valid: bool) -> None:
        self.generation += 1
        self.files[key] = File(self.generation, size_bytes, is_valid)

    @rule(key=KEYS)
    def delete(self, key: Key) -> None:
        self.files.pop(key, None)

    @rule(key=KEYS)
    def pin(self, key: Key) -> None:
        if key in dict(self.expected):
            self.pinned.add(key)

    @rule(key=KEYS)
    def unpin(self, key: Key) -> None:
        self.pinned.discard(key)

    @rule(key=KEYS)
    def get(self, key: Key) -> None:
        cached, file = dict(self.expected).get(key), self.files.get(key)
        try:
            value = self.cache.get(key)
        except FileNotFoundError:
            assert file is None
            self.expected = [each for each in self.expected if each[0] != key]
            self.pinned.discard(key)  # a deleted file's value is removed even if it is pinned
            return
        except InvalidFile:
            assert file is not None
            assert not file.is_valid
            assert cached is None, "a valid value would have been kept"
            return
        assert file is not None
        if file.is_valid:
            assert value == file, "the newest generation"
        else:
            assert value == cached, "the last valid generation"
        self.store_expected(key, value, is_new=value != cached)

    def store_expected(self, key: Key, file: File, *, is_new: bool) -> None:
        others = [each for each in self.expected if each[0] != key]
        evicted = self.select_evictions(key, file, dict(others)) if is_new else []
        if evicted is None:
            self.expected = others
        else:
            self.expected = [each for each in others if each[0] not in evicted] + [(key, file)]
        self.pinned &= set(dict(self.expected))

    @rule(key=KEYS)
    def expire(self, key: Key) -> None:
        self.cache.expire([key])

    @invariant()
    def contains_the_expected_entries_in_order(self) -> None:
        assert list(self.cache.contents().items()) == self.expected

    @invariant()
    def knows_its_number_and_size(self) -> None:
        sizes = [file.size_bytes for file in self.cache.contents().values()]
        assert (len(self.cache), self.cache.total_size) == (len(sizes), sum(sizes))

    @invariant()
    def never_exceeds_its_size(self) -> None:
        assert sum(file.size_bytes for file in self.cache.contents().values()) <= MAX_BYTES

    @invariant()
    def keeps_pinned_entries(self) -> None:
        assert self.pinned <= set(self.cache.contents())


TestRenewingCache = CacheStateMachine.TestCase
TestRenewingCache.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


# Bounds


class CountedKey:
    """A key that counts how often keys are hashed or compared: a copy of a dictionary does both for each."""

    uses = 0

    def __init__(self, number: int) -> None:
        self.number = number

    def __hash__(self) -> int:
        CountedKey.uses += 1
        return hash(self.number)

    def __eq__(self, other: object) -> bool:
        CountedKey.uses += 1
        return isinstance(other, CountedKey) and self.number == other.number


def load_or_fail(key: CountedKey) -> int:
    """Load the values of even keys only."""
    if key.number % 2:
        raise InvalidFile(key.number)
    return key.number


def cache_of(*, max_entries: int, negative_ttl_s: float = 3600.0) -> RenewingCache[CountedKey, int]:
    return RenewingCache(
        load=load_or_fail,
        changed=lambda *_: False,
        refresh_s=3600.0,
        clone_error=lambda error: InvalidFile(*error.args),
        negative_ttl_s=negative_ttl_s,
        max_entries=max_entries,
        size=lambda _: 1,
    )


def uses_of_lookup(cache: RenewingCache[CountedKey, int], number: int) -> int:
    before = CountedKey.uses
    with suppress(InvalidFile):
        cache.get(CountedKey(number))
    return CountedKey.uses - before


@pytest.mark.parametrize("negative_ttl_s", [3600.0, 0.0])
@pytest.mark.parametrize("parity", [0, 1], ids=["valid", "invalid"])
def test_lookup_of_each_further_key_takes_as_many_operations(parity: int, negative_ttl_s: float) -> None:
    cache = cache_of(max_entries=500, negative_ttl_s=negative_ttl_s)

    uses = [uses_of_lookup(cache, 2 * index + parity) for index in range(2000)]

    assert max(uses) <= 20
    assert sum(uses[1000:]) <= sum(uses[:1000]) * 2


def test_least_recently_used_values_beyond_the_limit_are_dropped() -> None:
    cache = cache_of(max_entries=3)
    for number in (0, 2, 4, 0, 6):
        cache.get(CountedKey(number))

    assert list(cache.contents().values()) == [4, 0, 6]
    assert (len(cache), cache.total_size, cache.counts.evictions) == (3, 3, 1)


def test_oldest_errors_beyond_the_limit_are_dropped() -> None:
    cache = cache_of(max_entries=3)

    for number in (1, 3, 5, 7, 3, 1):
        with pytest.raises(InvalidFile):
            cache.get(CountedKey(number))

    assert cache.counts.waits == 1, "3 was remembered, and 1 was not any more"


def test_errors_are_forgotten_once_they_expire() -> None:
    cache = cache_of(max_entries=3, negative_ttl_s=0.0)

    for number in (1, 1, 3):
        with pytest.raises(InvalidFile):
            cache.get(CountedKey(number))

    assert (cache.counts.waits, cache.counts.misses) == (0, 3)


# Expiry while another thread is at work


def test_expiry_during_a_refresh_causes_another_refresh() -> None:
    generations = [1]

    def changed(key: str, value: int) -> bool:
        was_changed = value != generations[-1]
        if len(generations) == 1:  # a new file comes while the refresh has seen the old one
            generations.append(2)
            cache.expire([key])
        return was_changed

    cache: RenewingCache[str, int] = RenewingCache(
        load=lambda _: generations[-1], changed=changed, refresh_s=3600.0
    )
    assert cache.get("a") == 1
    cache.expire(["a"])

    assert cache.get("a") == 1, "the refresh that saw the old file"
    assert cache.get("a") == 2


def test_expiry_during_a_failing_refresh_causes_another_refresh() -> None:
    generations = [1]

    def changed(key: str, value: int) -> bool:
        if len(generations) == 1:
            generations.append(2)
            cache.expire([key])
            raise InvalidFile(key)
        return value != generations[-1]

    cache: RenewingCache[str, int] = RenewingCache(
        load=lambda _: generations[-1], changed=changed, refresh_s=3600.0
    )
    assert cache.get("a") == 1
    cache.expire(["a"])

    assert [cache.get("a"), cache.get("a")] == [1, 2]


def test_expiry_during_the_first_load_causes_a_refresh() -> None:
    generations = [1]

    def load(key: str) -> int:
        value = generations[-1]
        if len(generations) == 1:
            generations.append(2)
            cache.expire([key])
        return value

    cache: RenewingCache[str, int] = RenewingCache(
        load=load, changed=lambda _, value: value != generations[-1], refresh_s=3600.0
    )

    assert [cache.get("a"), cache.get("a")] == [1, 2]
