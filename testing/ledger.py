"""Whether anything was lost, or done twice, of many uploads: from what was sent, and from what is there. Pure."""

from collections import Counter, defaultdict
from dataclasses import dataclass

NOT_AN_IMAGE = "415"
OF_A_RESULT = ["annotated.jpg", "result.json"]


@dataclass
class Upload:
    """One generation of an object. `counts`: what its result says; None where it is no image.

    `events`: how many messages told of it, the first of them storage's own.
    """

    tenant_id: str
    path: str
    generation: int
    counts: dict | None
    events: int = 1

    @property
    def place(self):
        return self.tenant_id, self.path

    def __str__(self):
        return f"{self.tenant_id}/{self.path}#{self.generation}"


@dataclass(frozen=True)
class Found:
    """What lies in the folder of an image's results: the document, or None, and the metadata of each object."""

    result: dict | None = None
    written: tuple[tuple[str, dict], ...] = ()

    @property
    def generation(self):
        return self.result["image"]["generation"] if self.result else 0

    @property
    def is_whole(self):
        written = dict(self.written)
        works = {metadata.get("tenant-vision-work") for metadata in written.values()}
        return sorted(written) == OF_A_RESULT and len(works) == 1 and None not in works


@dataclass(frozen=True)
class Account:
    """Sentences about what is missing, and about what there is too much of."""

    lost: list[str]
    double: list[str]


def account(uploads, found, errors, done=()):
    """`uploads`: in their order. `found`: by place. `errors`: messages' attributes.

    `done`: (tenant, path, generation) of each summary line that says so.
    """
    newest = {each.place: each for each in uploads}
    told = defaultdict(set)
    for error in errors:
        told[error["tenant_id"], error["generation"], error["status"]].add(error["event_id"])
    lost, double = [], []
    for each in uploads:
        messages = len(told.pop((each.tenant_id, str(each.generation), NOT_AN_IMAGE), ()))
        if messages > (0 if each.counts is not None else each.events):
            double.append(f"{each}: {messages} error messages for {each.events} events")
        if each is newest[each.place]:
            there = found.get(each.place, Found())
            lost += _missing(each, there, messages)
            if each.counts is None and there.generation >= each.generation:
                double.append(f"{each}: no image, and there is a result")
    double += [f"{tenant_id}#{generation}: published with {status}" for tenant_id, generation, status in told]
    times = Counter(done)
    double += [
        f"{tenant_id}/{path}#{number}: done again" for (tenant_id, path, number), n in times.items() if n > 1
    ]
    return Account(lost, double)


def _missing(upload, there, messages):
    if upload.counts is None:
        return [] if messages >= upload.events else [f"{upload}: {messages} of {upload.events} events published"]
    if there.generation != upload.generation:
        return [f"{upload}: the result is of {there.generation or 'nothing'}"]
    if not there.is_whole:
        return [f"{upload}: the result is not whole: {there.written}"]
    if there.result["counts"] != upload.counts:
        return [f"{upload}: {there.result['counts']} instead of {upload.counts}"]
    return []
