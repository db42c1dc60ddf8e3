"""Stores the results of one image by optimistic concurrency: writers never wait, and preconditions find conflicts.

Every object carries the work id of its writer in its metadata, and is written with the precondition that the
generation in its place is still the one that was seen (or that nothing is there). Pictures are written first, the
result last. A writer whose precondition fails stats the object again and compares:

    of a newer image generation, or by a newer model   the writer is late: nothing more is written
    of the same work                                   another writer has done it: it is kept
    anything else                                      it is overwritten

If the result was the object that changed, the pictures are checked again before it is written. A writer that
overwrote a concurrent writer's picture of the same image also rewrites result.json, so that the other writer's
precondition fails and it re-checks. (A writer of an older image is stopped by any newer result.) Therefore an
older result never replaces a newer one, and the writer of the last result has put its own pictures beside it.
`tests/shared/results/test_interleavings.py` explores all orders.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from shared.cloud.objects import ObjectStat, crc32c
from shared.cloud.tenant_store import TenantStore
from shared.errors import Ignored, ObjectChanged, ObjectNotFound, StorageUnavailable
from shared.names import IMAGE_GENERATION_KEY, MODEL_KEY_PREFIX, RESULT_NAME, WORK_KEY, parse_generation
from shared.runtime.event_record import stage


@dataclass(frozen=True, slots=True, eq=False)
class WorkId:
    """Identifies a piece of work, as an idempotency key in the metadata of all its objects.

    `models`: generation by model type. Generations of a model are comparable only within `models_bucket`.
    `digest`: SHA-256 of image version, pipeline and models.
    """

    image_generation: int
    models_bucket: str
    models: Mapping[str, int]
    digest: str

    @property
    def metadata(self) -> dict[str, str]:
        """The metadata of every object that this work writes."""
        models = {
            MODEL_KEY_PREFIX + model_type: f"{self.models_bucket}#{generation}"
            for model_type, generation in self.models.items()
        }
        return {IMAGE_GENERATION_KEY: str(self.image_generation), WORK_KEY: self.digest} | models

    def matches(self, existing: ObjectStat) -> bool:
        """Return whether an object was written by the same work."""
        return existing.metadata.get(WORK_KEY) == self.digest

    def newer_models_in(self, existing: ObjectStat) -> list[str]:
        """Return the model types of which an object of the same image was made by a newer generation."""
        if image_generation_of(existing) != self.image_generation:
            return []
        return [
            model_type
            for model_type, generation in self.models.items()
            if self._model_generation_of(existing, model_type) > generation
        ]

    def _model_generation_of(self, existing: ObjectStat, model_type: str) -> int:
        """Return the model's generation in an object's metadata, or 0 if it is missing or of another bucket."""
        value = existing.metadata.get(MODEL_KEY_PREFIX + model_type, "")
        return parse_generation(value.removeprefix(f"{self.models_bucket}#")) or 0


def image_generation_of(existing: ObjectStat) -> int:
    """Return the image generation in an object's metadata, or 0 if there is none."""
    return parse_generation(existing.metadata.get(IMAGE_GENERATION_KEY)) or 0


def ensure_image_not_older(generation: int, existing: ObjectStat) -> None:
    """Check that an existing object is not of a newer generation of the image.

    Raises:
        Ignored: It is. The newer generation has an event of its own.
    """
    if image_generation_of(existing) > generation:
        raise Ignored("A newer generation of the image is done, or about to be")


def ensure_models_not_older(work: WorkId, existing: ObjectStat) -> None:
    """Check that an existing object was not made by a newer generation of a model.

    Raises:
        StorageUnavailable: It was. This instance will have that model when the event is delivered again.
    """
    if outdated := work.newer_models_in(existing):
        raise StorageUnavailable(
            f"The existing result is by a newer model than this instance has: {', '.join(outdated)}"
        )


class ResultStore:
    """Reads and writes the results of one image, which are stored under `prefix`."""

    def __init__(self, store: TenantStore, prefix: str) -> None:
        self._store = store
        self._prefix = prefix

    def stat(self, name: str = RESULT_NAME) -> ObjectStat | None:
        """Return the metadata of one of the results, or None if it does not exist."""
        try:
            return self._store.stat(f"{self._prefix}/{name}")
        except ObjectNotFound:
            return None

    def read(self, *, generation: int) -> bytes:
        """Return the result document of one generation.

        Raises:
            ObjectNotFound: It was overwritten or deleted.
        """
        return self._store.read(f"{self._prefix}/{RESULT_NAME}", generation=generation).data or b""

    def write(
        self,
        work: WorkId,
        pictures: Mapping[str, bytes],
        document: Callable[[], bytes],
        *,
        existing: ObjectStat | None,
    ) -> bytes | None:
        """Write the pictures, then the result.

        Args:
            work: The identity of what is written.
            pictures: JPEG files by object name.
            document: Makes the result document, once the pictures are written.
            existing: What `stat` returned before the work began.

        Returns:
            The document, or None if another writer has written the result of the same work meanwhile.

        Raises:
            Ignored: There is a result of a newer generation of the image.
            StorageUnavailable: There is a result by a newer model, or storage failed.
        """
        replaced = False
        while True:
            with stage("write"):
                for name, data in pictures.items():
                    replaced |= self._write_picture(name, data, work, stat_first=existing is not None)
            data = document()
            with stage("write"):
                try:
                    self._write(RESULT_NAME, data, "application/json", work, existing)
                except ObjectChanged:
                    existing = self.stat()
                else:
                    return data
            if existing and existing.crc32c == crc32c(data):
                return data  # Our own write: its response was lost, and its retry failed the precondition.
            if self._is_written(work, existing) and not replaced:
                return None

    def _write_picture(self, name: str, data: bytes, work: WorkId, *, stat_first: bool) -> bool:
        """Write a picture, and return whether it may have replaced a concurrent writer's of the same image.

        Without `stat_first` the first attempt expects no picture. That saves a call: without a result there are
        rarely pictures.
        """
        existing, replaced = self.stat(name) if stat_first else None, False
        while not self._is_written(work, existing):
            # Before the write, since a write whose response is lost may have happened.
            replaced |= existing is not None and image_generation_of(existing) == work.image_generation
            try:
                self._write(name, data, "image/jpeg", work, existing)
            except ObjectChanged:
                existing = self.stat(name)
            else:
                break
        return replaced

    def _is_written(self, work: WorkId, existing: ObjectStat | None) -> bool:
        """Return whether an object is of this work already.

        Raises:
            Ignored: It is of a newer generation of the image.
            StorageUnavailable: It is by a newer model.
        """
        if existing is None:
            return False
        ensure_image_not_older(work.image_generation, existing)
        ensure_models_not_older(work, existing)
        return work.matches(existing)

    def _write(self, name: str, data: bytes, content_type: str, work: WorkId, existing: ObjectStat | None) -> None:
        """Write over what was seen: over that generation, or over nothing."""
        self._store.write(
            f"{self._prefix}/{name}",
            data,
            content_type=content_type,
            metadata=work.metadata,
            if_generation=existing.generation if existing else 0,
        )
