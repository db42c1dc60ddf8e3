"""The journey of one request: what is already done, read, the steps, write. Knows no envelope and no arrays."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from shared import documents
from shared.cloud.objects import ObjectStat
from shared.config import Config
from shared.errors import (
    DeadlineExceeded,
    Ignored,
    ImageNotFound,
    ImageTooLarge,
    ObjectChanged,
    ObjectNotFound,
    StorageUnavailable,
)
from shared.events import Request
from shared.ml.model_cache import ModelCache
from shared.picture import draw
from shared.pipelines import Pipelines, digest
from shared.processing_context import ProcessingContext
from shared.steps.step import Step
from shared.summary import current as summary
from shared.summary import stage
from shared.tenant_store import Store, TenantStores
from shared.vision import images
from shared.vision.thumbnails import thumbnail

# Keys of a result's object metadata: which work it is the result of.
_IMAGE_GENERATION: Final = "tenant-vision-image-generation"
_WORK: Final = "tenant-vision-work"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A complete result lies in storage. `duplicate`: it did so before, and its document was not read again."""

    duplicate: bool
    document: bytes | None = None


class Pipeline:
    """Built once an instance; keeps nothing of a request."""

    def __init__(self, store: Store, config: Config) -> None:
        self._stores = TenantStores(
            store, models=config.gcs_bucket, uploads=config.upload_bucket, results=config.results_bucket
        )
        self._config = config
        self._pipelines = Pipelines(store, config)

    def run(self, request: Request) -> Outcome:
        """Process one image, and write its result last.

        Raises:
            TenantVisionError: any of its leaves; nothing is written then, or only the picture.
        """
        with stage("lookup"):
            steps = self._pipelines.steps(request.tenant_id, request.pipeline, request.options)
        request = self._at_generation(request)
        earlier = self._earlier(request)
        if earlier and self._is_done(request, steps, earlier):
            return Outcome(duplicate=True)
        ctx = self._read(request)
        for step in steps:
            self._check_deadline()
            ctx = step.execute(ctx)
        self._check_deadline()
        return self._write(request, steps, ctx, earlier)

    def run_and_read(self, request: Request) -> Outcome:
        """As `run`, with the document of a duplicate too."""
        outcome = self.run(request)
        if outcome.document is not None:
            return outcome
        name = f"{documents.result_prefix(request)}/result.json"
        try:
            return Outcome(outcome.duplicate, self._stores.of(request.tenant_id).read(name).data)
        except ObjectNotFound as error:
            raise StorageUnavailable("The result was there and is gone") from error

    def _at_generation(self, request: Request) -> Request:
        """The request with the generation of its image: the live one where it named none."""
        if request.image.generation is not None:
            return request
        with stage("lookup"):
            try:
                stat = self._stores.of(request.tenant_id).stat(request.image.name)
            except ObjectNotFound as error:
                raise ImageNotFound(f"There is no image {request.image.uri}") from error
        return replace(request, image=replace(request.image, generation=stat.generation))

    def _earlier(self, request: Request) -> ObjectStat | None:
        """What is known of a result that is already there."""
        with stage("lookup"):
            try:
                name = f"{documents.result_prefix(request)}/result.json"
                return self._stores.of(request.tenant_id).stat(name)
            except ObjectNotFound:
                return None

    def _is_done(self, request: Request, steps: Sequence[Step], earlier: ObjectStat) -> bool:
        done = earlier.metadata.get(_IMAGE_GENERATION, "")
        if done.isdecimal() and int(done) > (request.image.generation or 0):
            raise Ignored("A newer generation of the image is already done")
        if done != str(request.image.generation):
            return False
        with stage("lookup"):
            generations: dict[str, int] = {
                model_type: ModelCache.generation(tenant_id=request.tenant_id, model_type=model_type)
                for step in steps
                for model_type in step.model_types
            }
        return earlier.metadata.get(_WORK) == _work(request, steps, generations)

    def _read(self, request: Request) -> ProcessingContext:
        image, config = request.image, self._config
        with stage("download"):
            try:
                stored = self._stores.of(request.tenant_id).read(
                    image.name, generation=image.generation, max_bytes=config.max_image_bytes
                )
            except ObjectNotFound as error:
                raise self._gone(request) from error
        if stored.data is None:
            raise ImageTooLarge(f"The image has more than {config.max_image_bytes} bytes")
        with stage("decode"):
            pixels = images.decode(stored.data, max_pixels=config.max_image_pixels)
        return ProcessingContext(tenant_id=request.tenant_id, image=pixels)

    def _gone(self, request: Request) -> Ignored | ImageNotFound:
        """An upload that is gone before we came needs no answer; who asked for an image by name does."""
        if request.by_upload:
            return Ignored("The image, or this generation of it, is gone")
        return ImageNotFound(f"There is no image {request.image.uri} of generation {request.image.generation}")

    def _write(
        self, request: Request, steps: Sequence[Step], ctx: ProcessingContext, earlier: ObjectStat | None
    ) -> Outcome:
        """The pictures, then the result: a reader who sees the result sees all of it."""
        prefix, store = documents.result_prefix(request), self._stores.of(request.tenant_id)
        with stage("draw"):
            pictures = self._pictures(ctx)
        generation = request.image.generation or 0
        work = _work(request, steps, {name: model.source.generation for name, model in ctx.models.items()})
        metadata = {_IMAGE_GENERATION: str(generation), _WORK: work}
        with stage("write"):
            for name, picture in pictures.items():
                store.write(f"{prefix}/{name}", picture, content_type="image/jpeg", metadata=metadata)
        document = documents.result(
            request,
            ctx,
            generation=generation,
            pipeline_digest=digest(steps),
            created_at=datetime.now(UTC),
            timings_ms=summary().timings_ms,
        )
        data = documents.to_json(document)
        with stage("write"):
            try:
                store.write(
                    f"{prefix}/result.json",
                    data,
                    content_type="application/json",
                    metadata=metadata,
                    if_generation=earlier.generation if earlier else 0,
                )
            except ObjectChanged as error:  # another delivery came first: with this work, or with other
                earlier = self._earlier(request)
                if earlier and self._is_done(request, steps, earlier):
                    return Outcome(duplicate=True)
                raise StorageUnavailable("Another delivery wrote this result meanwhile") from error
        summary().note(counts=document["counts"])
        return Outcome(duplicate=False, document=data)

    def _pictures(self, ctx: ProcessingContext) -> dict[str, bytes]:
        """JPEG files by their names: what was found, and the same at each of the smaller sizes."""
        picture = draw(ctx)
        sizes = self._config.thumbnail_sizes
        smaller = {f"thumbnail-{size}.jpg": images.encode_jpeg(thumbnail(picture, size)) for size in sizes}
        return {"annotated.jpg": images.encode_jpeg(picture), **smaller}

    def _check_deadline(self) -> None:
        if summary().elapsed_s > self._config.event_deadline_s:
            raise DeadlineExceeded(f"Not done within {self._config.event_deadline_s:g} s")


def _work(request: Request, steps: Sequence[Step], generations: Mapping[str, int]) -> str:
    """The identity of a piece of work: same image, steps (with the options they run with) and models."""
    identity = {
        "image": [request.image.uri, request.image.generation],
        "pipeline": [request.pipeline, digest(steps)],
        "models": dict(generations),
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
