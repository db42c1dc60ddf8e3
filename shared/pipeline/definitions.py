"""Looks up pipelines by name: built-in ones, and a tenant's own in `models/{tenant_id}/pipelines.json`.

A pipeline is a list of steps with options, and a resampling. It is validated by `schemas/pipelines.schema.json`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, Final, Self

from shared import untrusted_json
from shared.cloud.tenant_store import Store, TenantStores
from shared.config import Config
from shared.errors import InvalidPipeline, ObjectNotFound
from shared.ml.output_layout import ModelType
from shared.ml.renewing_cache import RenewingCache
from shared.names import pipelines_path
from shared.processors.options import non_default_options
from shared.steps.step import STEPS, Step
from shared.untrusted_json import InvalidJson
from shared.vision.images.letterbox import Resampling

BUILT_IN: Final[Mapping[str, Any]] = {
    "detect": {"steps": [{"step": "detect"}]},
    "segment": {"steps": [{"step": "segment"}]},
    "sahi_detect": {"steps": [{"step": "sahi_detect"}]},
    "classify": {"steps": [{"step": "classify"}]},
    "count": {
        "steps": [
            {"step": "segment", "options": {"resolution": "image"}},
            {"step": "within_segments"},
            {"step": "aggregate"},
        ]
    },
}
MAX_BYTES: Final = 2**20
MAX_DEFINITION_BYTES: Final = 48 * 2**10  # of one pipeline: with its image it is a message to a worker
MAX_MESSAGE_CHARACTERS: Final = 300
_STEP_NAMES: Final[Mapping[type[Step], str]] = {step_class: name for name, step_class in STEPS.items()}
_SCHEMA: Final = Path(__file__).parents[1] / "schemas" / "pipelines.schema.json"


@dataclass(frozen=True, slots=True, eq=False)
class Definitions:
    """A tenant's own pipelines.

    `generation`: That of the file, or 0 if there is none. `error`: Why the file has no valid pipelines.
    """

    generation: int
    pipelines: Mapping[str, Any]
    error: str = ""

    def __str__(self) -> str:
        return f"generation {self.generation}"


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """The steps of a pipeline in order, how an image is resampled for them, and the definition of both."""

    steps: tuple[Step, ...]
    resampling: Resampling = "exact"
    definition: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_definition(cls, definition: Mapping[str, Any], config: Config) -> Self:
        """Return the plan of a definition that the schema has accepted.

        Raises:
            InvalidPipeline: Options contradict each other.
        """
        steps = (STEPS[step["step"]].from_json(step.get("options", {}), config) for step in definition["steps"])
        return cls(tuple(steps), definition.get("resampling", "exact"), definition)

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON of steps, options and resampling, in hexadecimal digits.

        Options have the names of the schema, and those at their defaults are omitted. So the digest depends on no
        class name and no order of fields, and does not change when a step gains an option.
        """
        identity: dict[str, Any] = {
            "steps": [
                {"step": _STEP_NAMES[type(step)], "options": non_default_options(step)} for step in self.steps
            ]
        }
        if self.resampling != "exact":
            identity["resampling"] = self.resampling
        canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
        return hashlib.sha256(canonical.encode()).hexdigest()

    @property
    def model_types(self) -> tuple[ModelType, ...]:
        """The types of the models that the steps use, each once."""
        return tuple(dict.fromkeys(model_type for step in self.steps for model_type in step.model_types))

    @property
    def decodes_downscaled(self) -> bool:
        """Whether the image may be decoded no larger than the models' canvases need it."""
        return self.resampling == "fast" and not any(step.needs_full_resolution for step in self.steps)


class PipelineRegistry:
    """Plans pipelines for all tenants; their files are cached and refreshed like their models."""

    def __init__(self, store: Store, config: Config) -> None:
        self._stores = TenantStores(store, models=config.gcs_bucket)
        self._config = config
        self._own: RenewingCache[str, Definitions] = RenewingCache(
            load=self._load, changed=self._changed, refresh_s=config.model_refresh_s
        )

    def plan(self, tenant_id: str, name: str, options: Mapping[str, Any]) -> Plan:
        """Return a tenant's pipeline, with a request's options applied to all steps that have them.

        Raises:
            InvalidPipeline: There is no such pipeline or option, or the tenant's file is invalid.
            StorageUnavailable: Storage failed.
        """
        definitions = self._own.get(tenant_id)
        if definitions.error:
            raise InvalidPipeline(definitions.error)
        definition = definitions.pipelines.get(name) or BUILT_IN.get(name)
        if definition is None:
            names = ", ".join(sorted({*BUILT_IN, *definitions.pipelines}))
            raise InvalidPipeline(f"unknown pipeline '{name}'; known pipelines: {names}")
        definition = _apply_overrides(definition, options) if options else definition
        size = len(json.dumps(definition, separators=(",", ":")))
        if size > MAX_DEFINITION_BYTES:
            raise InvalidPipeline(
                f"pipeline '{name}' and its options have {size} bytes; the limit is {MAX_DEFINITION_BYTES} bytes: "
                "name fewer labels"
            )
        return Plan.from_definition(definition, self._config)

    def _load(self, tenant_id: str) -> Definitions:
        try:
            stored = self._stores.of(tenant_id).read(pipelines_path(tenant_id), max_bytes=MAX_BYTES)
        except ObjectNotFound:
            return Definitions(0, {})
        try:
            return Definitions(stored.generation, self._parse(stored.data))
        except InvalidPipeline as error:
            cached = self._own.peek(tenant_id)
            if cached and cached.pipelines:
                raise  # As with a model, the cache keeps the valid definitions, and logs the error.
            return Definitions(stored.generation, {}, error=str(error))

    def _parse(self, data: bytes | None) -> Mapping[str, Any]:
        if data is None:
            raise InvalidPipeline(f"pipelines.json: more than {MAX_BYTES} bytes")
        try:
            pipelines: Mapping[str, Any] = untrusted_json.parse(data)
        except InvalidJson as error:
            raise InvalidPipeline(f"pipelines.json: {error}") from error
        validate(pipelines, "pipelines.json")
        for name, definition in pipelines.items():
            for index, step in enumerate(definition["steps"]):
                try:
                    STEPS[step["step"]].from_json(step.get("options", {}), self._config)
                except InvalidPipeline as error:
                    raise InvalidPipeline(f"pipelines.json: {name}.steps[{index}]: {error}") from error
        return pipelines

    def _changed(self, tenant_id: str, cached: Definitions) -> bool:
        try:
            return self._stores.of(tenant_id).stat(pipelines_path(tenant_id)).generation != cached.generation
        except ObjectNotFound:
            return cached.generation != 0


def validate(value: Any, label: str, schema_name: str = "") -> None:
    """Check a value against the schema of pipelines, or against one of the schema's definitions.

    Args:
        value: Parsed JSON.
        label: What error messages call the value.
        schema_name: The definition, or none for a whole pipelines.json.

    Raises:
        InvalidPipeline: The value is invalid; the message has the JSON path.
    """
    from jsonschema.exceptions import best_match  # noqa: PLC0415 - takes 80 ms, and built-in pipelines need none

    try:
        # Of the first error only: a hostile document may have very many.
        error = best_match(islice(_validator(schema_name).iter_errors(value), 1))
    except RecursionError as too_deep:
        raise InvalidPipeline(f"{label}: nested too deeply") from too_deep
    if error is not None:
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path)
        position = f" {path.removeprefix('.')[:150]}:" if path else ""
        raise InvalidPipeline(f"{label}:{position} {_shortened(error.message)}")


@cache
def _validator(schema_name: str) -> Any:
    from jsonschema import Draft202012Validator  # noqa: PLC0415 - as above

    schema = json.loads(_SCHEMA.read_text())
    if schema_name:
        schema = {"$ref": f"#/$defs/{schema_name}", "$defs": schema["$defs"]}
    return Draft202012Validator(schema)


def _shortened(text: str) -> str:
    """Cut the middle of a message: its start names the value, its end the rule."""
    if len(text) <= MAX_MESSAGE_CHARACTERS:
        return text
    half = MAX_MESSAGE_CHARACTERS // 2 - 10
    return f"{text[:half]} … {text[-half:]}"


def _apply_overrides(definition: Mapping[str, Any], options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the definition with a request's options, each in all steps that have it.

    Raises:
        InvalidPipeline: An option is invalid, or no step has it.
    """
    overrides = dict(options)
    resampling = overrides.pop("resampling", definition.get("resampling", "exact"))
    validate(resampling, "options: resampling", "resampling")
    known = {step["step"]: set(_option_names(step["step"])) for step in definition["steps"]}
    known_names = {"resampling"}.union(*known.values())
    if unknown := sorted(str(name)[:64] for name in overrides.keys() - known_names):
        raise InvalidPipeline(f"unknown option {unknown[0]!r}; known options: {', '.join(sorted(known_names))}")
    steps = []
    for step in definition["steps"]:
        step_overrides = {name: value for name, value in overrides.items() if name in known[step["step"]]}
        merged = {**step.get("options", {}), **step_overrides}
        validate(merged, "options", step["step"])
        steps.append({**step, "options": merged})
    return {"steps": steps, "resampling": resampling}


@cache
def _option_names(step: str) -> tuple[str, ...]:
    return tuple(json.loads(_SCHEMA.read_text())["$defs"][step].get("properties", {}))
