"""Upload two thousand images of five tenants while faults are injected: `python -m benchmarks soak`.

One call in a hundred fails, in every way that the proxies support. The function is killed and restarted
repeatedly. Events are delivered twice, late and out of order. In the last part the function is not killed, so that
its memory can be measured.
"""

from __future__ import annotations

from time import perf_counter
from typing import Final

from benchmarks.table import Figure, Table
from testing.soak import SoakPlan, soak

UPLOADS: Final = 2000
KILLS: Final = 30
UPLOADS_WITHOUT_KILLS: Final = 500
FAULT_RATE: Final = 0.01
MEMORY_LIMIT: Final = 1.1


def run(uploads: int = UPLOADS, kills: int = KILLS, calm: int = UPLOADS_WITHOUT_KILLS) -> Table:
    began = perf_counter()
    report = soak(
        SoakPlan(uploads=uploads, kills=kills, calm=calm, storage_rate=FAULT_RATE, publish_rate=FAULT_RATE)
    )
    took_s = perf_counter() - began
    for sentence in (*report.findings.lost, *report.findings.duplicated):
        print(sentence)
    verdicts = report.verdicts
    by_kind: dict[str, int] = {}
    for (_, kind), count in report.faults.items():
        by_kind[kind] = by_kind.get(kind, 0) + count
    return Table(
        f"Soak: {report.uploads} uploads of 5 tenants, {report.events} events, {report.kills} kills, "
        "1 % of calls fail",
        [
            Figure("lost", len(report.findings.lost), "times", 0, is_invariant=True),
            Figure("double", len(report.findings.duplicated), "times", 0, is_invariant=True),
            Figure("dead letters", report.dead_letters, "times", 0, is_invariant=True),
            Figure("faults that fired", sum(report.faults.values()), "times"),
            Figure("calls to storage and Pub/Sub", report.calls, "times"),
            Figure(
                "resident at the end / after a hundred uploads, without kills",
                report.memory_ratio,
                limit=MEMORY_LIMIT,
            ),
            Figure("events a second", report.events / took_s),
        ],
        [
            ("what", "times"),
            *((verdict, str(count)) for verdict, count in sorted(verdicts.items())),
            *((f"fault: {kind}", str(count)) for kind, count in sorted(by_kind.items())),
        ],
    )


if __name__ == "__main__":
    print(run())
