"""README and docs: the requests, results and pipelines they show are real ones, and their links lead somewhere."""

import json
import re
from pathlib import Path

import jsonschema
import pytest

from shared import events
from shared.config import Config

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
CONTRACT = (ROOT / "docs" / "contract.md").read_text()
SCHEMA = json.loads((ROOT / "shared" / "schemas" / "result.schema.json").read_text())
CONFIG = Config(gcs_bucket="acme-models", upload_bucket="acme-uploads", results_bucket="r", error_topic="errors")


def blocks(page, section):
    text = page.split(f"## {section}\n", 1)[1].split("\n## ", 1)[0]
    return [json.loads(block) for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL)]


def test_the_results_shown_are_valid():
    shown = [*blocks(CONTRACT, "The result"), blocks(README, "One event in, one result out")[0]]
    for document in shown:
        jsonschema.validate(document, SCHEMA, jsonschema.Draft202012Validator)


def test_the_readmes_request_is_understood():
    body = json.dumps(blocks(README, "One event in, one result out")[1]).encode()
    request = events.parse(events.Event(events.ImageMessage({}, body)), CONFIG)
    assert request.image.name == "uploads/tenant-001/bed-7/monday.jpg"


@pytest.mark.parametrize(
    "page", sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").glob("*.md")), ids=lambda p: p.name
)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target
