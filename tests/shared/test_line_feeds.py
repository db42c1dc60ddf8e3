"""A name with a line feed at its end is rejected everywhere: `$` in Python's patterns would let it through."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import jsonschema
import pytest

from shared import config, names
from shared.cloud.tenant_store import TenantStores
from shared.config import Config
from shared.errors import ConfigError, InvalidEvent, InvalidPipeline, OutsideTenant
from shared.events import Event, ImageMessage, ObjectFinalized, parse
from shared.pipeline.definitions import PipelineRegistry
from testing.memory_store import MemoryStore

SCHEMAS: Final = sorted((Path(__file__).parents[2] / "shared/schemas").glob("*.json"))
SETTINGS: Final = Config(gcs_bucket="b", error_topic="e")
EXAMPLES: Final = ("detect", "a1", "0" * 64, "ct+x2g==", "2026-11-22T20:04:46.123Z")


def patterns(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield the parts of a schema that have a pattern with an end."""
    if isinstance(schema, dict):
        if str(schema.get("pattern", "")).endswith("$"):
            yield schema
        for part in schema.values():
            yield from patterns(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from patterns(part)


@pytest.mark.parametrize("path", SCHEMAS, ids=lambda path: path.name)
def test_no_pattern_of_a_schema_accepts_a_line_feed_at_the_end(path: Path) -> None:
    ended = list(patterns(json.loads(path.read_text())))

    assert ended
    for part in ended:
        validator = jsonschema.Draft202012Validator(part)
        accepted = [text for text in EXAMPLES if validator.is_valid(text)]
        assert accepted, part
        assert not any(validator.is_valid(f"{text}\n") for text in accepted), part


@pytest.mark.parametrize("module", [names, config], ids=lambda module: module.__name__)
def test_patterns_of_the_code_have_no_dollar(module: Any) -> None:
    compiled = [value for value in vars(module).values() if isinstance(value, re.Pattern)]

    assert compiled
    assert not any("$" in pattern.pattern for pattern in compiled), "use fullmatch"


@pytest.mark.parametrize(
    "name", ["GCS_BUCKET", "ERROR_TOPIC", "GOOGLE_CLOUD_PROJECT", "DEFAULT_PIPELINE", "MODEL_DOMAINS"]
)
def test_line_feed_inside_a_setting_is_invalid_and_at_its_end_is_removed(name: str) -> None:
    environment = {"GCS_BUCKET": "bucket", "ERROR_TOPIC": "topic"}

    parsed = Config.from_environment(environment | {name: "detect\n"})
    assert "\n" not in str(parsed)
    with pytest.raises(ConfigError, match=name):
        Config.from_environment(environment | {name: "a\n!"})


@pytest.mark.parametrize("field", ["tenant_id", "image", "pipeline", "request_id", "generation"])
def test_line_feed_at_the_end_of_a_field_is_rejected(field: str) -> None:
    fields = {
        "tenant_id": "tenant-001",
        "image": "a.jpg",
        "pipeline": "detect",
        "request_id": "r",
        "generation": "1",
    }

    parse(Event(ImageMessage(fields)), SETTINGS)
    with pytest.raises((InvalidEvent, InvalidPipeline)):
        parse(Event(ImageMessage(fields | {field: f"{fields[field]}\n"})), SETTINGS)


@pytest.mark.parametrize("name", ["uploads/tenant-001\n/a.jpg", "uploads/tenant-001/a.jpg\n"])
def test_upload_with_a_line_feed_is_rejected(name: str) -> None:
    with pytest.raises(InvalidEvent):
        parse(Event(ObjectFinalized(SETTINGS.upload_bucket, name, 1, {})), SETTINGS)


def test_store_gives_no_part_to_a_tenant_id_with_a_line_feed() -> None:
    with pytest.raises(OutsideTenant):
        TenantStores(MemoryStore()).of("tenant-001\n")


@pytest.mark.parametrize(
    "pipelines",
    [
        {"mine\n": {"steps": [{"step": "detect"}]}},
        {"mine": {"steps": [{"step": "size_statistics", "options": {"bands": [{"name": "large\n"}]}}]}},
    ],
    ids=["pipeline", "band"],
)
def test_name_with_a_line_feed_in_pipelines_json_is_invalid(pipelines: dict[str, Any]) -> None:
    store = MemoryStore()
    store.put("models/tenant-001/pipelines.json", json.dumps(pipelines).encode())

    with pytest.raises(InvalidPipeline, match=r"pipelines\.json"):
        PipelineRegistry(store, SETTINGS).plan("tenant-001", "detect", {})
