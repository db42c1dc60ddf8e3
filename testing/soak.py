"""Many uploads of several tenants through the local stack, while everything goes wrong at once.

Some calls to storage and to Pub/Sub fail, in every way the proxies know. The function is killed and started again.
Events come twice, at once, late, and after newer ones. Uploads are overwritten, and some are no images. The report
says what was lost, what was done twice, and what happened meanwhile.
"""

import json
import random
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

import psutil

from local.trigger import UPLOAD
from testing import models
from testing.fault_plan import RandomFaults
from testing.faulty_stack import ACKNOWLEDGED, Document, FaultyStack, wait_until
from testing.ledger import Findings, ImagePath, StoredResult, Upload, audit
from testing.pictures import picture

TENANTS: Final = [f"tenant-{number:03}" for number in range(1, 6)]
STORAGE_KINDS: Final = [
    *((kind, False) for kind in ("408", "429", "500", "503", "reset", "stall", "page")),
    *((kind, False) for kind in ("truncated", "corrupted", "slow")),
    *((kind, True) for kind in ("503", "reset", "stall", "page")),
]
PUBLISH_KINDS: Final = [
    *((kind, False) for kind in ("UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL", "RESOURCE_EXHAUSTED")),
    *((kind, False) for kind in ("PERMISSION_DENIED", "stall")),
    *((kind, True) for kind in ("UNAVAILABLE", "PERMISSION_DENIED", "stall")),
]
WHITE_COUNTS: Final = {"plant": 1, "tray": 1}
BLACK_COUNTS: Final[dict[str, int]] = {}  # of black squares: padding is not black
CONTENTS: Final[list[tuple[bytes, dict[str, int] | None]]] = [  # a file, and the counts of its result
    *((picture(size_wh), WHITE_COUNTS) for size_wh in ((64, 64), (96, 48), (320, 240))),
    *((picture(size_wh, colour="black"), BLACK_COUNTS) for size_wh in ((64, 64), (48, 48))),
    (b"no image", None),
]
MAX_IN_FLIGHT: Final = 40  # events
DOWNTIME_UPLOADS: Final = 5  # made while the function is down after a kill
WARM_UP_UPLOADS: Final = 100  # after them each thread has done all kinds of work, and memory should stay constant
TIMEOUT_S: Final = 90


@dataclass(frozen=True)
class SoakPlan:
    """How much of everything.

    The last `calm` of the `uploads` come without a kill, so that memory can be measured. `storage_rate` and
    `publish_rate` are the shares of calls that fail, `repeat_share` and `overwrite_share` those of the uploads.
    """

    uploads: int
    kills: int
    calm: int
    storage_rate: float
    publish_rate: float
    repeat_share: float = 0.3
    overwrite_share: float = 0.2
    deadline_s: float = 4
    seed: int = 4

    @property
    def killed_before(self) -> set[int]:
        """The numbers of the uploads before which the function is killed."""
        interval = (self.uploads - self.calm) // (self.kills + 1)
        return {interval * (number + 1) for number in range(self.kills)}

    def is_down(self, number: int) -> bool:
        return any(0 <= number - killed < DOWNTIME_UPLOADS for killed in self.killed_before)


@dataclass
class SoakReport:
    """What happened. `resident` is in bytes, from the calm part after the warm-up on."""

    findings: Findings
    uploads: int
    events: int
    kills: int
    summaries: list[Document]
    faults: Counter[tuple[str, str]]
    calls: int
    errors: list[dict[str, str]]
    dead_letters: int
    resident: list[int] = field(default_factory=list)

    @property
    def verdicts(self) -> Counter[str]:
        return Counter(line["verdict"] for line in self.summaries)

    @property
    def memory_ratio(self) -> float:
        return self.resident[-1] / self.resident[0]


def soak(plan: SoakPlan) -> SoakReport:
    storage = RandomFaults(STORAGE_KINDS, plan.storage_rate, plan.seed)
    publishing = RandomFaults(PUBLISH_KINDS, plan.publish_rate, plan.seed)
    settings = {"EVENT_DEADLINE_SECONDS": str(plan.deadline_s), "THREADS": "16"}
    with FaultyStack(storage_faults=storage, publish_faults=publishing, settings=settings) as cloud:
        for tenant_id in TENANTS:
            cloud.put_model(tenant_id, models.detect())
        run = _SoakRun(cloud, plan)
        run.run()
        errors = _errors(cloud)
        return SoakReport(
            audit(run.uploads, _stored_results(cloud, run.uploads), errors, run.done),
            uploads=len(run.uploads),
            events=run.events,
            kills=len(plan.killed_before),
            summaries=run.summaries,
            faults=storage.fired + publishing.fired,
            calls=storage.calls + publishing.calls,
            errors=errors,
            dead_letters=len(cloud.stack.read(cloud.stack.names.dead_letter_subscription, timeout_s=1)),
            resident=run.resident,
        )


class _SoakRun:
    def __init__(self, cloud: FaultyStack, plan: SoakPlan) -> None:
        self.uploads: list[Upload] = []
        self.events = 0
        self.summaries: list[Document] = []
        self.resident: list[int] = []
        self._cloud = cloud
        self._plan = plan
        self._random = random.Random(plan.seed)  # noqa: S311 - chance, not secrecy
        self._acknowledged: set[str] = set()

    @property
    def done(self) -> list[tuple[str, str, int]]:
        done = [line for line in self.summaries if line["verdict"] == "done"]
        return [(line["tenant_id"], line["image"], line["generation"]) for line in done]

    def run(self) -> None:
        plan, stack = self._plan, self._cloud.stack
        first_calm = plan.uploads - plan.calm
        for number in range(first_calm):
            if number in plan.killed_before:
                stack.kill_function(UPLOAD)
            if number - DOWNTIME_UPLOADS in plan.killed_before:
                stack.start_function(UPLOAD)
            if not plan.is_down(number):
                self._wait(MAX_IN_FLIGHT)
            self._upload(number)
        self._wait(0)
        if plan.calm:
            stack.restart_function(UPLOAD)
        for number in range(first_calm, plan.uploads):
            self._wait(MAX_IN_FLIGHT)
            self._upload(number)
            if number >= first_calm + WARM_UP_UPLOADS:
                self.resident.append(self._resident_bytes())
        self._wait(0)
        self._wait_for_stragglers()
        if plan.calm:
            self.resident.append(self._resident_bytes())

    def _upload(self, number: int) -> None:
        """Upload a file, and sometimes repeat the event of this or of an earlier upload."""
        plan = self._plan
        data, counts = self._random.choice(CONTENTS)
        if self.uploads and self._random.random() < plan.overwrite_share:
            tenant_id, path = self._random.choice(self.uploads[-MAX_IN_FLIGHT:]).image
        else:
            tenant_id, path = TENANTS[number % len(TENANTS)], f"{number:05}.jpg"
        upload = Upload(tenant_id, path, self._cloud.upload(tenant_id, path, data), counts)
        self.uploads.append(upload)
        self.events += 1
        if self._random.random() < plan.repeat_share:
            self._repeat_event(upload if self._random.random() < 0.5 else self._random.choice(self.uploads))

    def _repeat_event(self, upload: Upload) -> None:
        self._cloud.notify(*upload.image, upload.generation)
        upload.events += 1
        self.events += 1

    def _wait(self, max_in_flight: int) -> None:
        """Wait until no more than `max_in_flight` events are unacknowledged."""

        def enough_acknowledged() -> bool:
            self._read_summaries()
            return self.events - len(self._acknowledged) <= max_in_flight

        wait_until(enough_acknowledged, TIMEOUT_S, lambda: "\n".join(map(str, self.summaries[-5:])))

    def _read_summaries(self) -> None:
        lines = (line for _, line in self._cloud.stack.fresh_lines() if line.startswith("{"))
        fresh = [entry for entry in map(json.loads, lines) if "verdict" in entry]
        self.summaries += fresh
        self._acknowledged |= {line["event_id"] for line in fresh if line["verdict"] in ACKNOWLEDGED}

    def _wait_for_stragglers(self) -> None:
        """Wait for redeliveries of events whose acknowledgement a kill lost, and for the last error messages."""
        cloud = self._cloud
        wait_until(
            lambda: all(len(cloud.errors[tenant_id]) >= cloud.published(tenant_id) for tenant_id in TENANTS),
            TIMEOUT_S,
            lambda: f"{len(_errors(cloud))} of {sum(map(cloud.published, TENANTS))} error messages arrived",
        )
        count = -1
        while count != len(self.summaries):
            count = len(self.summaries)
            time.sleep(1)
            self._read_summaries()

    def _resident_bytes(self) -> int:
        process = psutil.Process(self._cloud.stack.function_pid(UPLOAD))
        return sum(each.memory_info().rss for each in (process, *process.children(recursive=True)))


def _errors(cloud: FaultyStack) -> list[dict[str, str]]:
    return [error for tenant_id in TENANTS for error in list(cloud.errors[tenant_id])]


def _stored_results(cloud: FaultyStack, uploads: Sequence[Upload]) -> dict[ImagePath, StoredResult]:
    images = sorted({upload.image for upload in uploads})
    with ThreadPoolExecutor(8) as pool:
        return dict(zip(images, pool.map(lambda image: _stored_result(cloud, *image), images), strict=True))


def _stored_result(cloud: FaultyStack, tenant_id: str, path: str) -> StoredResult:
    objects = cloud.result_objects(tenant_id, path)
    return StoredResult(cloud.result(tenant_id, path), tuple(sorted(objects.items())))
