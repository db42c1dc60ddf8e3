"""What of an image's results lies there already, and how the newer takes the place of the older.

Everything written carries in its object's metadata which work it is of, and is written only over what was seen
in its place: the pictures first, the result last. If something else lies there by then, we look again:

    newer: of a newer generation of the image, or of a model   we are late, and leave all as it is
    of the same work                                           somebody else has written it
    anything else                                              it is written over

If it was the result that changed, the pictures are looked at again before it is; and who has replaced another's
picture of the same image writes the result in any case, for the other may be about to write its own and must hear
of it (one of an older image hears of it from any result of ours). So nothing newer is ever replaced by something
older, and who wrote the last result had put its pictures beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from shared.cloud.objects import ObjectStat, crc32c
from shared.cloud.tenant_store import TenantStore
from shared.errors import Ignored, ObjectChanged, ObjectNotFound, StorageUnavailable
from shared.names import IMAGE_GENERATION_KEY, MODEL_KEY_PREFIX, RESULT_NAME, WORK_KEY, parse_generation
from shared.runtime.event_record import stage


@dataclass(frozen=True, slots=True)
class WorkId:
    """A piece of work: of one generation of an image, by the tenant's models of certain generations.

    `models_bucket`: generations of one model can be told older from newer only within it. `digest`: of these and
    of everything else that makes the result what it is.
    """

    image_generation: int
    models_bucket: str
    models: Mapping[str, int]
    digest: str

    @property
    def metadata(self) -> dict[str, str]:
        models = {
            MODEL_KEY_PREFIX + name: f"{self.models_bucket}#{number}" for name, number in self.models.items()
        }
        return {IMAGE_GENERATION_KEY: str(self.image_generation), WORK_KEY: self.digest} | models

    def matches(self, found: ObjectStat) -> bool:
        """Whether what was found is of this very work."""
        return found.metadata.get(WORK_KEY) == self.digest

    def newer_models_in(self, found: ObjectStat) -> list[str]:
        """The models that what was found has newer generations of, if it is of the same image."""
        if image_generation_of(found) != self.image_generation:
            return []
        return [
            name
            for name, number in self.models.items()
            if (
                parse_generation(
                    found.metadata.get(MODEL_KEY_PREFIX + name, "").removeprefix(f"{self.models_bucket}#")
                )
                or 0
            )
            > number
        ]


def image_generation_of(found: ObjectStat) -> int:
    """The generation of the image that what was found is of; 0 where it does not say."""
    return parse_generation(found.metadata.get(IMAGE_GENERATION_KEY)) or 0


def ensure_image_not_older(generation: int, found: ObjectStat) -> None:
    """Raises:
    Ignored: what was found is of a newer generation of the image, whose own event sees to it.
    """
    if image_generation_of(found) > generation:
        raise Ignored("A newer generation of the image is done, or about to be")


def ensure_models_not_older(work: WorkId, found: ObjectStat) -> None:
    """Raises:
    StorageUnavailable: what was found is by a newer model, which will be here when the event comes again.
    """
    if outdated := work.newer_models_in(found):
        raise StorageUnavailable(f"What is there is by newer models than those here: {', '.join(outdated)}")


class ResultStore:
    """Those of one image: `prefix` is their folder."""

    def __init__(self, store: TenantStore, prefix: str) -> None:
        self._store = store
        self._prefix = prefix

    def stat(self, name: str = RESULT_NAME) -> ObjectStat | None:
        """What is known of an object that is there, or None."""
        try:
            return self._store.stat(f"{self._prefix}/{name}")
        except ObjectNotFound:
            return None

    def write(
        self,
        work: WorkId,
        pictures: Mapping[str, bytes],
        document: Callable[[], bytes],
        *,
        found: ObjectStat | None,
    ) -> bytes | None:
        """Write the pictures, then the result, and give it. None: the same work's is there meanwhile.

        `document` makes the result once the pictures are there; `found`: what `look` gave before the work began.

        Raises:
            Ignored: a newer generation of the image is there.
            StorageUnavailable: a newer model's is there, or storage did not serve.
        """
        replaced = False
        while True:
            with stage("write"):
                for name, data in pictures.items():
                    replaced |= self._replace_picture(name, data, work, looked_at_first=found is not None)
            data = document()
            with stage("write"):
                try:
                    self._write(RESULT_NAME, data, "application/json", work, found)
                except ObjectChanged:
                    found = self.stat()
                else:
                    return data
            if found and found.crc32c == crc32c(data):
                return data  # written by the very call that was told it came second: its first answer was lost
            if self._is_there(work, found) and not replaced:
                return None

    def _replace_picture(self, name: str, data: bytes, work: WorkId, *, looked_at_first: bool) -> bool:
        """Write a picture; whether it may have taken the place of another's.

        Where there is no result there are rarely pictures: then the precondition looks for us.
        """
        found, replaced = self.stat(name) if looked_at_first else None, False
        while not self._is_there(work, found):
            # Told or not: an answer may be lost, and its write done.
            replaced |= found is not None and image_generation_of(found) == work.image_generation
            try:
                self._write(name, data, "image/jpeg", work, found)
            except ObjectChanged:
                found = self.stat(name)
            else:
                break
        return replaced

    def _is_there(self, work: WorkId, found: ObjectStat | None) -> bool:
        """Whether what was found is of the work already. Raises where it is of newer."""
        if found is None:
            return False
        ensure_image_not_older(work.image_generation, found)
        ensure_models_not_older(work, found)
        return work.matches(found)

    def _write(self, name: str, data: bytes, content_type: str, work: WorkId, found: ObjectStat | None) -> None:
        self._store.write(
            f"{self._prefix}/{name}",
            data,
            content_type=content_type,
            metadata=work.metadata,
            if_generation=found.generation if found else 0,
        )
