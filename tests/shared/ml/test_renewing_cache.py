"""The cache against the simplest thing that could be right: a list, and nobody else at work."""

from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from shared.ml.eviction import CacheEntry, select_evictions
from shared.ml.renewing_cache import RenewingCache

BUDGET = 12
KEYS = st.tuples(st.sampled_from("ab"), st.integers(0, 2))


class Refused(Exception):
    pass


@dataclass(frozen=True)
class File:
    """What lies in storage: a generation, its weight, and whether it can be loaded."""

    generation: int
    size_bytes: int
    good: bool = True


class Cached(RuleBasedStateMachine):
    """Files come, change, break and go; things made of them are asked for, and held on to."""

    def __init__(self):
        super().__init__()
        self.files = {}
        self.generation = 0
        self.held_on_to = set()
        self.loads = 0
        self.model = []  # (key, file), the least recently used first
        self.cache = RenewingCache(
            load=self.load,
            changed=self.changed,
            refresh_s=0.0,
            select_evictions=lambda key, file, others: self.select_evictions(key, file, others.items()),
        )

    def load(self, key):
        self.loads += 1
        if key not in self.files:
            raise FileNotFoundError(key)
        if not self.files[key].good:
            raise Refused(key)
        return self.files[key]

    def changed(self, key, file):
        if key not in self.files:
            raise FileNotFoundError(key)
        return self.files[key].generation != file.generation

    def select_evictions(self, key, file, others):
        held = [CacheEntry(each, each[0], other.size_bytes, each in self.held_on_to) for each, other in others]
        gone = select_evictions(CacheEntry(key, key[0], file.size_bytes), held, BUDGET)
        return None if gone is None else [each.key for each in gone]

    @rule(key=KEYS, size_bytes=st.integers(1, 8), good=st.sampled_from([True, True, True, False]))
    def upload(self, key, size_bytes, good):
        self.generation += 1
        self.files[key] = File(self.generation, size_bytes, good)

    @rule(key=KEYS)
    def delete(self, key):
        self.files.pop(key, None)

    @rule(key=KEYS)
    def hold_on(self, key):
        if key in dict(self.model):
            self.held_on_to.add(key)

    @rule(key=KEYS)
    def let_go(self, key):
        self.held_on_to.discard(key)

    @rule(key=KEYS)
    def get(self, key):
        before, file = dict(self.model).get(key), self.files.get(key)
        try:
            found = self.cache.get(key)
        except FileNotFoundError:
            assert file is None
            self.model = [each for each in self.model if each[0] != key]
            self.held_on_to.discard(key)  # gone, whoever holds on to it
            return
        except Refused:
            assert not file.good
            assert before is None, "a good one would have been kept"
            return
        if file.good:
            assert found == file, "the newest"
        else:
            assert found == before, "the one before, which was good"
        self.keep(key, found, is_new=found != before)

    def keep(self, key, file, *, is_new):
        others = [each for each in self.model if each[0] != key]
        gone = self.select_evictions(key, file, others) if is_new else []
        self.model = others if gone is None else [each for each in others if each[0] not in gone] + [(key, file)]
        self.held_on_to &= set(dict(self.model))

    @rule(key=KEYS)
    def expire(self, key):
        self.cache.expire(lambda each: each == key)

    @invariant()
    def it_holds_what_the_list_holds(self):
        assert list(self.cache.contents().items()) == self.model

    @invariant()
    def it_stays_within_its_budget(self):
        assert sum(file.size_bytes for file in self.cache.contents().values()) <= BUDGET

    @invariant()
    def what_is_held_on_to_is_there(self):
        assert self.held_on_to <= set(self.cache.contents())


TestCached = Cached.TestCase
TestCached.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
