"""Many uploads of several tenants through the local stack, with all at once that may go wrong.

Some calls to storage and to Pub/Sub fail, in every way the proxies know; the function is killed and started
again; events come twice, at once, late, and after newer ones; uploads are written over; some are no images.
At the end: what was lost, what is double, and what happened meanwhile.
"""

import json
import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import psutil

from local.trigger import UPLOAD
from testing import models
from testing.fault_plan import RandomFaults
from testing.faulty_stack import ACKNOWLEDGED, FaultyStack, wait_until
from testing.ledger import Account, Found, Upload, account
from testing.pictures import picture

TENANTS = [f"tenant-{number:03}" for number in range(1, 6)]
STORAGE_KINDS = [
    *((kind, False) for kind in ("408", "429", "500", "503", "reset", "stall", "page")),
    *((kind, False) for kind in ("truncated", "corrupted", "slow")),
    *((kind, True) for kind in ("503", "reset", "stall", "page")),
]
PUBLISH_KINDS = [
    *((kind, False) for kind in ("UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL", "RESOURCE_EXHAUSTED")),
    *((kind, False) for kind in ("PERMISSION_DENIED", "stall")),
    *((kind, True) for kind in ("UNAVAILABLE", "PERMISSION_DENIED", "stall")),
]
WHITE, BLACK, NO_IMAGE = {"plant": 1, "tray": 1}, {}, None  # black squares: padding is not black
CONTENTS = [
    *((picture(size_wh), WHITE) for size_wh in ((64, 64), (96, 48), (320, 240))),
    *((picture(size_wh, colour="black"), BLACK) for size_wh in ((64, 64), (48, 48))),
    (b"no image", NO_IMAGE),
]
IN_FLIGHT = 40
DOWN_FOR = 5  # uploads
WARM = 100  # uploads, after which each thread has done what there is, and memory should stay as it is
PATIENCE_S = 90


@dataclass(frozen=True)
class Plan:
    """`calm`: so many of the `uploads`, the last, come without a kill. `again`, `over`: shares of the uploads.

    `storage_rate`, `publish_rate`: shares of the calls that fail.
    """

    uploads: int
    kills: int
    calm: int
    storage_rate: float
    publish_rate: float
    again: float = 0.3
    over: float = 0.2
    deadline_s: float = 4
    seed: int = 4

    @property
    def killed_at(self):
        """The numbers of the uploads before which the function is killed."""
        every = (self.uploads - self.calm) // (self.kills + 1)
        return {every * (turn + 1) for turn in range(self.kills)}

    def is_down(self, number):
        return any(0 <= number - killed < DOWN_FOR for killed in self.killed_at)


@dataclass
class Told:
    """What happened. `lines`: all summary lines; `resident`: bytes, of the calm part, from `WARM` on."""

    account: Account
    uploads: int
    events: int
    kills: int
    lines: list
    faults: Counter
    calls: int
    errors: list
    dead_letters: int
    resident: list = field(default_factory=list)

    @property
    def verdicts(self):
        return Counter(line["verdict"] for line in self.lines)

    @property
    def memory_ratio(self):
        return self.resident[-1] / self.resident[0]


def soak(plan):
    storage = RandomFaults(STORAGE_KINDS, plan.storage_rate, plan.seed)
    publishing = RandomFaults(PUBLISH_KINDS, plan.publish_rate, plan.seed)
    settings = {"EVENT_DEADLINE_SECONDS": str(plan.deadline_s), "THREADS": "16"}
    with FaultyStack(storage=storage, publishing=publishing, **settings) as cloud:
        for tenant_id in TENANTS:
            cloud.put_model(tenant_id, models.detect())
        story = _Soak(cloud, plan)
        story.tell()
        return Told(
            account(story.uploads, _found(cloud, story.uploads), _errors(cloud), story.done),
            uploads=len(story.uploads),
            events=story.events,
            kills=len(plan.killed_at),
            lines=story.lines,
            faults=storage.fired + publishing.fired,
            calls=storage.calls + publishing.calls,
            errors=_errors(cloud),
            dead_letters=len(cloud.stack.read(cloud.stack.names.dead_letter_subscription, timeout_s=1)),
            resident=story.resident,
        )


class _Soak:
    def __init__(self, cloud, plan):
        self.uploads = []
        self.events = 0
        self.lines = []
        self.resident = []
        self._cloud = cloud
        self._plan = plan
        self._random = random.Random(plan.seed)  # noqa: S311 - chance, not secrecy
        self._acknowledged = set()

    @property
    def done(self):
        return [(line["tenant_id"], line["image"], line["generation"]) for line in self.lines if _is_done(line)]

    def tell(self):
        plan, stack = self._plan, self._cloud.stack
        stormy = plan.uploads - plan.calm
        for number in range(stormy):
            if number in plan.killed_at:
                stack.kill_function(UPLOAD)
            if number - DOWN_FOR in plan.killed_at:
                stack.start_function(UPLOAD)
            if not plan.is_down(number):
                self._wait(IN_FLIGHT)
            self._upload(number)
        self._wait(0)
        if plan.calm:
            stack.restart_function(UPLOAD)
        for number in range(stormy, plan.uploads):
            self._wait(IN_FLIGHT)
            self._upload(number)
            if number >= stormy + WARM:
                self.resident.append(self._resident())
        self._wait(0)
        self._wait_for_stragglers()
        if plan.calm:
            self.resident.append(self._resident())

    def _upload(self, number):
        """And then, of this one or of an earlier one, some events again."""
        chance, plan = self._random, self._plan
        data, counts = chance.choice(CONTENTS)
        if self.uploads and chance.random() < plan.over:
            tenant_id, path = chance.choice(self.uploads[-IN_FLIGHT:]).place
        else:
            tenant_id, path = TENANTS[number % len(TENANTS)], f"{number:05}.jpg"
        upload = Upload(tenant_id, path, self._cloud.upload(tenant_id, path, data), counts)
        self.uploads.append(upload)
        self.events += 1
        if chance.random() < plan.again:
            self._again(upload if chance.random() < 0.5 else chance.choice(self.uploads))

    def _again(self, upload):
        self._cloud.notify(*upload.place, upload.generation)
        upload.events += 1
        self.events += 1

    def _wait(self, in_flight):
        """Until no more than so many events are under way."""

        def few():
            self._read()
            return self.events - len(self._acknowledged) <= in_flight

        wait_until(few, PATIENCE_S, lambda: "\n".join(map(str, self.lines[-5:])))

    def _read(self):
        lines = (line for _, line in self._cloud.stack.fresh_lines() if line.startswith("{"))
        fresh = [entry for entry in map(json.loads, lines) if "verdict" in entry]
        self.lines += fresh
        self._acknowledged |= {line["event_id"] for line in fresh if line["verdict"] in ACKNOWLEDGED}

    def _wait_for_stragglers(self):
        """What was acknowledged to nobody, since the function was killed then, comes again; and the errors."""
        cloud = self._cloud
        wait_until(
            lambda: all(len(cloud.errors[each]) >= cloud.published(each) for each in TENANTS),
            PATIENCE_S,
            lambda: f"{len(_errors(cloud))} error messages came of {[cloud.published(each) for each in TENANTS]}",
        )
        known = -1
        while known != len(self.lines):
            known = len(self.lines)
            time.sleep(1)
            self._read()

    def _resident(self):
        process = psutil.Process(self._cloud.stack.function_pid(UPLOAD))
        return sum(each.memory_info().rss for each in (process, *process.children(recursive=True)))


def _is_done(line):
    return line["verdict"] == "done"


def _errors(cloud):
    return [error for tenant_id in TENANTS for error in list(cloud.errors[tenant_id])]


def _found(cloud, uploads):
    places = sorted({each.place for each in uploads})
    with ThreadPoolExecutor(8) as several:
        return dict(zip(places, several.map(lambda place: _at(cloud, *place), places), strict=True))


def _at(cloud, tenant_id, path):
    written = cloud.written_for(tenant_id, path)
    return Found(cloud.result(tenant_id, path), tuple(sorted(written.items())))
