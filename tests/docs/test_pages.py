"""The requests, results and pipelines in README and docs are valid, and their relative links have targets."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from shared import events
from shared.config import Config

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
CONTRACT = (ROOT / "docs" / "contract.md").read_text()
SCHEMA = json.loads((ROOT / "shared" / "schemas" / "result.schema.json").read_text())
CONFIG = Config(gcs_bucket="acme-models", upload_bucket="acme-uploads", results_bucket="r", error_topic="errors")


def blocks(page: str, section: str) -> list[Any]:
    text = page.split(f"## {section}\n", 1)[1].split("\n## ", 1)[0]
    return [json.loads(block) for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL)]


def test_results_in_the_docs_match_the_schema() -> None:
    shown = [*blocks(CONTRACT, "The result"), blocks(README, "One event in, one result out")[0]]
    for document in shown:
        jsonschema.validate(document, SCHEMA, jsonschema.Draft202012Validator)


def test_request_in_the_readme_is_accepted() -> None:
    body = json.dumps(blocks(README, "One event in, one result out")[1]).encode()
    request = events.parse(events.Event(events.ImageMessage({}, body)), CONFIG)
    assert request.image.name == "uploads/tenant-001/bed-7/monday.jpg"


@pytest.mark.parametrize(
    "page", sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name
)
def test_relative_links_have_a_target(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target
