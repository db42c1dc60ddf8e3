"""RenewingCache in one thread, compared with a list of entries as its model (hypothesis' stateful testing)."""

from collections.abc import Mapping
from dataclasses import dataclass

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
        self.cache.expire(lambda each: each == key)

    @invariant()
    def contains_the_expected_entries_in_order(self) -> None:
        assert list(self.cache.contents().items()) == self.expected

    @invariant()
    def never_exceeds_its_size(self) -> None:
        assert sum(file.size_bytes for file in self.cache.contents().values()) <= MAX_BYTES

    @invariant()
    def keeps_pinned_entries(self) -> None:
        assert self.pinned <= set(self.cache.contents())


TestRenewingCache = CacheStateMachine.TestCase
TestRenewingCache.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
