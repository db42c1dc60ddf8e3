"""Two thousand uploads of five tenants while everything goes wrong at once: `python -m benchmarks soak`.

One call in a hundred fails, in every way the proxies know; the function is killed and started again all the time;
events come twice, late and after newer ones. In the last part it is not killed, so that its memory can be read.
"""

from __future__ import annotations

from time import perf_counter
from typing import Final

from benchmarks.table import Figure, Table
from testing.soak import Plan, soak

UPLOADS: Final = 2000
KILLS: Final = 30
CALM: Final = 500
RATE: Final = 0.01
FLAT: Final = 1.1


def run(uploads: int = UPLOADS, kills: int = KILLS, calm: int = CALM) -> Table:
    began = perf_counter()
    told = soak(Plan(uploads=uploads, kills=kills, calm=calm, storage_rate=RATE, publish_rate=RATE))
    took_s = perf_counter() - began
    for sentence in (*told.account.lost, *told.account.double):
        print(sentence)
    verdicts = told.verdicts
    by_kind: dict[str, int] = {}
    for (_, kind), count in told.faults.items():
        by_kind[kind] = by_kind.get(kind, 0) + count
    return Table(
        f"Soak: {told.uploads} uploads of 5 tenants, {told.events} events, {told.kills} kills, 1 % of calls fail",
        [
            Figure("lost", len(told.account.lost), "times", 0, certain=True),
            Figure("double", len(told.account.double), "times", 0, certain=True),
            Figure("dead letters", told.dead_letters, "times", 0, certain=True),
            Figure("faults that fired", sum(told.faults.values()), "times"),
            Figure("calls to storage and Pub/Sub", told.calls, "times"),
            Figure("resident at the end / after a hundred uploads, without kills", told.memory_ratio, limit=FLAT),
            Figure("events a second", told.events / took_s),
        ],
        [
            ("what", "times"),
            *((verdict, str(count)) for verdict, count in sorted(verdicts.items())),
            *((f"fault: {kind}", str(count)) for kind, count in sorted(by_kind.items())),
        ],
    )


if __name__ == "__main__":
    print(run())
