"""Compares what was uploaded with what exists in the end: was anything lost, or done twice? Pure functions."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

NOT_AN_IMAGE: Final = "415"
RESULT_OBJECTS: Final = ["annotated.jpg", "result.json"]

ImagePath = tuple[str, str]  # tenant id, path


@dataclass
class Upload:
    """One generation of an object.

    `counts` are what its result must have; None if it is no image. `events` is how many messages were published
    for it, the first of them by storage.
    """

    tenant_id: str
    path: str
    generation: int
    counts: dict[str, int] | None
    events: int = 1

    @property
    def image(self) -> ImagePath:
        return self.tenant_id, self.path

    def __str__(self) -> str:
        return f"{self.tenant_id}/{self.path}#{self.generation}"


@dataclass(frozen=True)
class StoredResult:
    """What exists of an image's results: the document, or None, and the metadata of each object."""

    document: dict[str, Any] | None = None
    objects: tuple[tuple[str, dict[str, str]], ...] = ()

    @property
    def generation(self) -> int:
        return int(self.document["image"]["generation"]) if self.document else 0

    @property
    def is_whole(self) -> bool:
        """Whether all objects are there, and of the same work."""
        objects = dict(self.objects)
        works = {metadata.get("tenant-vision-work") for metadata in objects.values()}
        return sorted(objects) == RESULT_OBJECTS and len(works) == 1 and None not in works


@dataclass(frozen=True)
class Findings:
    """Sentences about what is missing, and about what there is too much of."""

    lost: list[str]
    duplicated: list[str]


def audit(
    uploads: Sequence[Upload],
    results: Mapping[ImagePath, StoredResult],
    errors: Iterable[Mapping[str, str]],
    done: Iterable[tuple[str, str, int]] = (),
) -> Findings:
    """Return what was lost or done twice.

    Args:
        uploads: in the order in which they were made.
        results: what exists for each image.
        errors: the attributes of the messages on the error topic.
        done: tenant id, path and generation of each summary line with the verdict `done`.
    """
    newest = {upload.image: upload for upload in uploads}
    published = defaultdict(set)
    for error in errors:
        published[error["tenant_id"], error["generation"], error["status"]].add(error["event_id"])
    lost, duplicated = [], []
    for upload in uploads:
        messages = len(published.pop((upload.tenant_id, str(upload.generation), NOT_AN_IMAGE), ()))
        if messages > (0 if upload.counts is not None else upload.events):
            duplicated.append(f"{upload}: {messages} error messages for {upload.events} events")
        if upload is newest[upload.image]:
            result = results.get(upload.image, StoredResult())
            lost += _missing(upload, result, messages)
            if upload.counts is None and result.generation >= upload.generation:
                duplicated.append(f"{upload}: no image, but has a result")
    duplicated += [
        f"{tenant_id}#{generation}: published with {status}" for tenant_id, generation, status in published
    ]
    duplicated += [
        f"{tenant_id}/{path}#{generation}: done {count} times"
        for (tenant_id, path, generation), count in Counter(done).items()
        if count > 1
    ]
    return Findings(lost, duplicated)


def _missing(upload: Upload, result: StoredResult, messages: int) -> list[str]:
    if upload.counts is None:
        return [] if messages >= upload.events else [f"{upload}: {messages} of {upload.events} events published"]
    if result.generation != upload.generation or result.document is None:
        return [f"{upload}: the result is of generation {result.generation or 'none'}"]
    if not result.is_whole:
        return [f"{upload}: the result is not whole: {result.objects}"]
    if result.document["counts"] != upload.counts:
        return [f"{upload}: {result.document['counts']} instead of {upload.counts}"]
    return []
