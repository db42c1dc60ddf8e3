"""Pipelines by name: those that are built in, and a tenant's own from `models/{tenant_id}/pipelines.json`.

A pipeline is a list of named steps with options, and how the image is read for them, checked against
`schemas/pipelines.schema.json`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, Final

from shared.cloud.tenant_store import Store, TenantStores
from shared.config import Config
from shared.errors import InvalidEvent, InvalidPipeline, ObjectNotFound
from shared.events import parse_json
from shared.ml.output_layout import ModelType
from shared.ml.renewing_cache import RenewingCache
from shared.names import pipelines_path
from shared.steps.step import STEPS, Step
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
_STEP_NAMES: Final[Mapping[type[Step], str]] = {step_class: name for name, step_class in STEPS.items()}
_SCHEMA: Final = Path(__file__).parents[1] / "schemas" / "pipelines.schema.json"


@dataclass(frozen=True, slots=True)
class Definitions:
    """A tenant's own pipelines; generation 0: there is no file. `mistake`: why there are none in the file."""

    generation: int
    pipelines: Mapping[str, Any]
    mistake: str = ""

    def __str__(self) -> str:
        return f"generation {self.generation}"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a pipeline does with an image, whatever it is called: its steps in order, and how they see it."""

    steps: tuple[Step, ...]
    resampling: Resampling = "exact"

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON of steps, options and reading, as hexadecimal digits.

        Options go by the names that pipelines give them, and those at their default are left out: the digest
        depends on no class, on no order of fields, and stays when a step gains an option.
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
        """Of all models the steps ask for, each once."""
        return tuple(dict.fromkeys(model_type for step in self.steps for model_type in step.model_types))

    @property
    def needs_full_resolution(self) -> bool:
        """Whether some step needs all of the image's pixels."""
        return any(step.needs_full_resolution for step in self.steps)


class PipelineRegistry:
    """One for all tenants; their files are kept and renewed like their models."""

    def __init__(self, store: Store, config: Config) -> None:
        self._stores = TenantStores(store, models=config.gcs_bucket)
        self._config = config
        self._own: RenewingCache[str, Definitions] = RenewingCache(
            load=self._load, changed=self._changed, refresh_s=config.model_refresh_s
        )

    def plan(self, tenant_id: str, name: str, options: Mapping[str, Any]) -> Plan:
        """The tenant's pipeline of that name, `options` given to all of it that knows them.

        Raises:
            InvalidPipeline: there is none of that name, or it has a mistake; the sentence says where.
            StorageUnavailable: storage did not tell.
        """
        definitions = self._own.get(tenant_id)
        if definitions.mistake:
            raise InvalidPipeline(definitions.mistake)
        own = definitions.pipelines
        definition = own.get(name) or BUILT_IN.get(name)
        if definition is None:
            names = ", ".join(sorted({*BUILT_IN, *own}))
            raise InvalidPipeline(f"There is no pipeline '{name}'; there are: {names}")
        definition = _overlaid(definition, options) if options else definition
        steps = (
            STEPS[each["step"]].from_json(each.get("options", {}), self._config) for each in definition["steps"]
        )
        return Plan(tuple(steps), definition.get("resampling", "exact"))

    def _load(self, tenant_id: str) -> Definitions:
        try:
            stored = self._stores.of(tenant_id).read(pipelines_path(tenant_id), max_bytes=MAX_BYTES)
        except ObjectNotFound:
            return Definitions(0, {})
        try:
            return Definitions(stored.generation, self._parsed(stored.data))
        except InvalidPipeline as error:
            held = self._own.contents().get(tenant_id)
            if held and held.pipelines:
                raise  # the cache goes on with the ones before, as with a model, and says so in the log
            return Definitions(stored.generation, {}, mistake=str(error))

    def _parsed(self, data: bytes | None) -> Mapping[str, Any]:
        if data is None:
            raise InvalidPipeline(f"pipelines.json has more than {MAX_BYTES} bytes")
        try:
            pipelines: Mapping[str, Any] = parse_json(data)
        except InvalidEvent as error:
            raise InvalidPipeline("pipelines.json is not valid JSON") from error
        validate(pipelines, "pipelines.json", "")
        for name, definition in pipelines.items():
            for index, each in enumerate(definition["steps"]):
                try:
                    STEPS[each["step"]].from_json(each.get("options", {}), self._config)
                except InvalidPipeline as error:
                    raise InvalidPipeline(f"pipelines.json, at {name}.steps[{index}]: {error}") from error
        return pipelines

    def _changed(self, tenant_id: str, held: Definitions) -> bool:
        try:
            return self._stores.of(tenant_id).stat(pipelines_path(tenant_id)).generation != held.generation
        except ObjectNotFound:
            return held.generation != 0


def validate(document: Any, what: str, definition: str) -> None:
    """Hold a document against the schema, or against one of its definitions.

    Raises:
        InvalidPipeline: naming the place.
    """
    from jsonschema.exceptions import best_match  # noqa: PLC0415 - 80 ms that plain pipelines never need

    try:  # the first one only: a stranger's document may have very many
        error = best_match(islice(_validator(definition).iter_errors(document), 1))
    except RecursionError as deep:
        raise InvalidPipeline(f"{what}: nested too deeply") from deep
    if error is not None:
        place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path)
        at = f", at {place.removeprefix('.')[:200]}" if place else ""
        raise InvalidPipeline(f"{what}{at}: {_shortened(error.message)}")


@cache
def _validator(definition: str) -> Any:
    from jsonschema import Draft202012Validator  # noqa: PLC0415 - as above

    schema = json.loads(_SCHEMA.read_text())
    if definition:
        schema = {"$ref": f"#/$defs/{definition}", "$defs": schema["$defs"]}
    return Draft202012Validator(schema)


def _shortened(text: str) -> str:
    """A value may be long, and the rule it breaks comes after it."""
    return text if len(text) <= 300 else f"{text[:140]} … {text[-140:]}"


def _overlaid(definition: Mapping[str, Any], options: Mapping[str, Any]) -> Mapping[str, Any]:
    """The definition with a request's options in it, and in each step that has such an option."""
    options = dict(options)
    resampling = options.pop("resampling", definition.get("resampling", "exact"))
    validate(resampling, "options, at resampling", "resampling")
    known = {step: set(_options_of(step)) for step in STEPS}
    steps = [each["step"] for each in definition["steps"]]
    if unknown := sorted(str(name)[:64] for name in options if not any(name in known[step] for step in steps)):
        names = ", ".join(sorted({"resampling", *(name for step in steps for name in known[step])}))
        raise InvalidPipeline(f"options: there is no {unknown[0]!r} here; there are: {names}")
    overlaid = []
    for each in definition["steps"]:
        asked = {name: value for name, value in options.items() if name in known[each["step"]]}
        merged = {**each.get("options", {}), **asked}
        validate(merged, "options", each["step"])
        overlaid.append({**each, "options": merged})
    return {"steps": overlaid, "resampling": resampling}


@cache
def _options_of(step: str) -> tuple[str, ...]:
    return tuple(json.loads(_SCHEMA.read_text())["$defs"][step].get("properties", {}))


def non_default_options(options: Any) -> dict[str, Any]:
    """The options of a step, or of a part of them, that are not at their default, by the names of the schema.

    A field whose option is called otherwise says so in its metadata (`option`).
    """
    found: dict[str, Any] = {}
    for each in fields(options):
        value = getattr(options, each.name)
        if is_dataclass(value):
            found |= non_default_options(value)
        else:
            default = each.default if each.default_factory is MISSING else each.default_factory()
            if value != default:
                found[each.metadata.get("option", each.name)] = value
    return found
