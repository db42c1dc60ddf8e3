"""Which call fails, how, and whether it did: what the proxies for storage and for Pub/Sub are told."""

import random
import threading
from collections import Counter
from dataclasses import dataclass

FOR_EVER = 1_000_000


@dataclass(eq=False)
class Fault:
    """The calls of one operation about one tenant that fail: the first `times` of them; "" is any.

    `kind` is what its proxy knows (see there). With `after` the call has happened, and only its answer is lost.
    """

    operation: str
    kind: str
    tenant_id: str = ""
    times: int = 1
    after: bool = False
    fired: int = 0


class FaultPlan:
    """Faults by name, and a count of the calls that came. For all threads of a proxy."""

    def __init__(self):
        self.calls = Counter()
        self._faults = []
        self._lock = threading.Lock()

    def add(self, fault):
        with self._lock:
            self._faults.append(fault)
        return fault

    def heal(self):
        """From now on nothing fails that does not yet."""
        with self._lock:
            self._faults.clear()

    def calls_about(self, tenant_id):
        """The operations that were asked for about a tenant, and how often."""
        with self._lock:
            return {operation: count for (operation, about), count in self.calls.items() if about == tenant_id}

    def take(self, operation, tenant_id):
        """The fault of this call, counted as fired, or None."""
        with self._lock:
            self.calls[operation, tenant_id] += 1
            for fault in self._faults:
                about = fault.operation in {operation, ""} and fault.tenant_id in {tenant_id, ""}
                if about and fault.fired < fault.times:
                    fault.fired += 1
                    return fault
        return None


class RandomFaults:
    """One call in so many fails, each time in another of `kinds`: (kind, after) each. Counts what fired."""

    def __init__(self, kinds, rate, seed):
        self.fired = Counter()
        self.calls = 0
        self._kinds = list(kinds)
        self._rate = rate
        self._random = random.Random(seed)  # noqa: S311 - chance, not secrecy
        self._lock = threading.Lock()

    def take(self, operation, tenant_id):
        with self._lock:
            self.calls += 1
            if self._random.random() >= self._rate:
                return None
            kind, after = self._random.choice(self._kinds)
            if kind == "corrupted" and not operation.startswith("read"):
                kind = "reset"
            self.fired[operation, f"{kind}, after" if after else kind] += 1
        return Fault(operation, kind, tenant_id, after=after)
