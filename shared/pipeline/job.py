"""A job: what is computed from one image by one pipeline, and what it gives. Knows neither events nor results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, Self

from shared.cloud.objects import StoredObject
from shared.events import ImageVersion
from shared.ml.output_layout import ModelType
from shared.pipeline.definitions import Plan


@dataclass(frozen=True, slots=True, eq=False)
class Models:
    """The generations that a job is to use, and the files of those that have just been read.

    A generation that is missing here is found by the ModelCache of the computing process.
    """

    generations: Mapping[ModelType, int]
    files: Mapping[ModelType, StoredObject] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """An image version of a tenant, a pipeline's name and definition, and the models to use."""

    tenant_id: str
    image: ImageVersion
    pipeline: str
    definition: Mapping[str, Any]
    models: Models

    def to_json(self) -> dict[str, Any]:
        """Return the job as a JSON object, without the files of models."""
        return {
            "tenant_id": self.tenant_id,
            "image": asdict(self.image),
            "pipeline": self.pipeline,
            "definition": self.definition,
            "generations": dict(self.models.generations),
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Self:
        """Return the job of a JSON object that `to_json` made."""
        return cls(
            tenant_id=fields["tenant_id"],
            image=ImageVersion(**fields["image"]),
            pipeline=fields["pipeline"],
            definition=fields["definition"],
            models=Models(fields["generations"]),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Computed:
    """What a job gave.

    `findings` is the first part of the result document as JSON (`documents.findings`), `pictures` are JPEG files
    by name, and `models` are the generations that were used.
    """

    findings: bytes
    pictures: Mapping[str, bytes]
    models: Mapping[ModelType, int]
    counts: Mapping[str, int]


class Computer(Protocol):
    """Computes jobs, in this process or in workers, and knows the models that it would use."""

    def live_models(self, tenant_id: str, model_types: Sequence[ModelType]) -> dict[ModelType, int]:
        """Return the generations that a job would use now, without loading models.

        Raises:
            ModelNotFound: The tenant has no such model.
            StorageUnavailable: Storage did not answer.
        """
        ...

    def expire_models(self, tenant_id: str, model_types: Sequence[str]) -> None:
        """Refresh these models at their next use, because newer generations are known to exist."""
        ...

    def prepare(self, tenant_id: str, plan: Plan) -> Models:
        """Return the models for a job of this plan, as far as they are known before its image is read.

        Raises:
            ModelNotFound: The tenant has no such model.
            InvalidModel: The file is too large, or failed a moment ago.
            StorageUnavailable: Storage did not answer.
        """
        ...

    def compute(self, job: Job, image: bytes) -> Computed:
        """Compute a job from the image's file.

        Raises:
            TenantVisionError: Any of its leaves that an image, a model or a pipeline can cause.
        """
        ...

    def cache_stats(self) -> Mapping[str, int]:
        """Return the counts and sizes of the model caches."""
        ...

    def close(self) -> None:
        """End the processes that compute, if there are any."""
        ...
