"""README and docs say what the code does: settings, statuses, events in and results out, links that lead on."""

import json
import re
from dataclasses import MISSING, fields
from datetime import UTC, datetime
from pathlib import Path

import jsonschema
import pytest

from functions import envelope
from shared import documents, errors, events
from shared.config import Config
from shared.errors import TenantVisionError

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
CONTRACT = (ROOT / "docs" / "contract.md").read_text()
SCHEMA = json.loads((ROOT / "shared" / "schemas" / "result.schema.json").read_text())
CONFIG = Config(gcs_bucket="acme-models", upload_bucket="acme-uploads", results_bucket="r", error_topic="errors")


def rows(page, header):
    """The cells of the table that starts with `header`, without their backticks."""
    lines = page.split(header, 1)[1].splitlines()[2:]
    table = lines[: next((i for i, line in enumerate(lines) if not line.startswith("|")), len(lines))]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in table]


def leaves(kind=TenantVisionError):
    below = kind.__subclasses__()
    return [leaf for each in below for leaf in leaves(each)] if below else [kind]


def blocks(page, section):
    text = page.split(f"## {section}\n", 1)[1].split("\n## ", 1)[0]
    return [json.loads(block) for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL)]


def test_the_readme_lists_every_setting_with_its_default():
    def default(field):
        if field.default is MISSING:
            return "required"
        if field.name in {"upload_bucket", "results_bucket"}:
            return "GCS_BUCKET"
        return f"{field.default:g}" if isinstance(field.default, float) else str(field.default)

    in_code = [[f.metadata["name"], default(f), f.metadata["takes"]] for f in fields(Config)]
    in_readme = [row[:3] for row in rows(README, "| setting | default |")]
    assert in_readme == in_code


@pytest.mark.parametrize("page", [README, CONTRACT], ids=["README", "contract"])
def test_every_status_is_listed(page):
    in_code = sorted((str(leaf.status), leaf.error) for leaf in leaves())
    assert sorted((row[0], row[1]) for row in rows(page, "| status | error |")) == in_code


def test_the_tree_of_errors_is_drawn_as_it_grows():
    drawn = re.findall(r"[├└]── (\w+)(?: +(\d{3})  (\w+))?", errors.__doc__)
    assert sorted(each for each in drawn if each[1]) == sorted(
        (leaf.__name__, str(leaf.status), leaf.error) for leaf in leaves()
    )


def test_the_contracts_event_is_understood():
    event = blocks(CONTRACT, "Events in")[0]
    opened = envelope.parse(event["headers"], json.dumps(event["body"]).encode())
    request = events.parse(opened, CONFIG)
    assert (request.tenant_id, request.event_id) == ("tenant-001", "8127391827391")
    assert documents.result_prefix(request) == "results/tenant-001/bed-7/monday.jpg"
    assert opened.occurred_at == datetime(2026, 11, 22, 20, 4, 45, 105000, UTC)


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
