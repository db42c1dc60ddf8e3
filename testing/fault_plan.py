"""Says which calls to storage and Pub/Sub fail, and how; the proxies ask for each call."""

import random
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

ALWAYS: Final = 1_000_000  # calls


@dataclass(eq=False)
class Fault:
    """Makes the first `count` calls of one operation for one tenant fail; "" is any operation, or any tenant.

    `kind` is one that the proxy knows (see there). With `after` the call happens first, and only its response is
    lost. `fired` counts the calls that failed.
    """

    operation: str
    kind: str
    tenant_id: str = ""
    count: int = 1
    after: bool = False
    fired: int = 0


class FaultSource(Protocol):
    """What a proxy asks for every call."""

    def take(self, operation: str, tenant_id: str) -> Fault | None: ...


class FaultPlan:
    """A list of faults, and a count of calls by (operation, tenant). Safe for all threads of a proxy."""

    def __init__(self) -> None:
        self.calls: Counter[tuple[str, str]] = Counter()
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> Fault:
        with self._lock:
            self._faults.append(fault)
        return fault

    def calls_for(self, tenant_id: str) -> dict[str, int]:
        """Return how often each operation was called for a tenant."""
        with self._lock:
            return {operation: count for (operation, owner), count in self.calls.items() if owner == tenant_id}

    def take(self, operation: str, tenant_id: str) -> Fault | None:
        """Count the call; return its fault, counted as fired, or None."""
        with self._lock:
            self.calls[operation, tenant_id] += 1
            for fault in self._faults:
                matches = fault.operation in {operation, ""} and fault.tenant_id in {tenant_id, ""}
                if matches and fault.fired < fault.count:
                    fault.fired += 1
                    return fault
        return None


class RandomFaults:
    """Makes a share of all calls (`rate`) fail, each in a random one of `kinds`: (kind, after).

    `fired` counts the faults by (operation, kind).
    """

    def __init__(self, kinds: Sequence[tuple[str, bool]], rate: float, seed: int) -> None:
        self.fired: Counter[tuple[str, str]] = Counter()
        self.calls = 0
        self._kinds = list(kinds)
        self._rate = rate
        self._random = random.Random(seed)  # noqa: S311 - chance, not secrecy
        self._lock = threading.Lock()

    def take(self, operation: str, tenant_id: str) -> Fault | None:
        with self._lock:
            self.calls += 1
            if self._random.random() >= self._rate:
                return None
            kind, after = self._random.choice(self._kinds)
            if kind == "corrupted" and not operation.startswith("read"):
                kind = "reset"
            self.fired[operation, f"{kind}, after" if after else kind] += 1
        return Fault(operation, kind, tenant_id, after=after)
