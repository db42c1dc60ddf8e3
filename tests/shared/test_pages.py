"""README and contract, compared with the code: settings, statuses, an event and a result."""

import dataclasses
import inspect
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from functions import envelope
from shared import errors
from shared.config import Config
from shared.errors import TenantVisionError
from shared.events import MESSAGE_FIELDS, ObjectFinalized, parse

ROW = re.compile(r"^\|(.+)\|$", re.MULTILINE)
CODE = re.compile(r"```json\n(.*?)```", re.DOTALL)


@pytest.fixture(scope="module")
def readme(root: Path) -> str:
    return (root / "README.md").read_text()


@pytest.fixture(scope="module")
def contract(root: Path) -> str:
    return (root / "docs" / "contract.md").read_text()


@pytest.fixture(scope="module")
def schema(root: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((root / "shared/schemas/result.schema.json").read_text())
    return document


def rows(page: str, *heading: str) -> list[list[str]]:
    """Return the cells of the first table whose headings begin with `heading`."""
    lines = [[cell.strip() for cell in line.split("|")] for line in ROW.findall(page)]
    start = next(index for index, cells in enumerate(lines) if cells[: len(heading)] == list(heading))
    width = len(lines[start])
    table = []
    for cells in lines[start + 2 :]:
        if len(cells) != width or set("".join(cells)) <= set("- "):
            break
        table.append([cell.strip("`") for cell in cells])
    return table


def section(page: str, title: str) -> str:
    return page.split(f"\n## {title}\n", maxsplit=1)[1].split("\n## ", maxsplit=1)[0]


def test_readme_lists_every_setting_with_default_and_accepted_values(readme: str) -> None:
    fallbacks = {"UPLOAD_BUCKET": "GCS_BUCKET", "RESULTS_BUCKET": "GCS_BUCKET"}
    expected = []
    for field in dataclasses.fields(Config):
        name = field.metadata["name"]
        default = "required" if field.default is dataclasses.MISSING else field.default
        if isinstance(default, float):
            default = f"{default:g}"
        if isinstance(default, tuple):
            default = ",".join(map(str, default))
        expected.append((name, fallbacks.get(name, str(default)), field.metadata["accepts"]))
    listed = rows(section(readme, "Settings"), "setting", "default", "accepts")
    assert sorted(tuple(row[:3]) for row in listed) == sorted(expected)
    assert all(row[3] for row in listed)


def concrete_errors() -> set[tuple[str, str]]:
    every = vars(errors).values()
    return {
        (str(error.status), error.error)
        for error in every
        if inspect.isclass(error) and issubclass(error, TenantVisionError) and "status" in vars(error)
    }


def test_readme_lists_every_status_with_a_meaning(readme: str) -> None:
    listed = rows(section(readme, "Statuses"), "status", "error", "meaning")
    assert sorted(tuple(row[:2]) for row in listed) == sorted(concrete_errors())
    assert all(row[2] for row in listed)


def test_contract_lists_every_status(contract: str) -> None:
    listed = rows(section(contract, "The error topic"), "status", "error")
    assert sorted(tuple(row) for row in listed) == sorted(concrete_errors())


def test_contract_lists_every_message_field(contract: str) -> None:
    listed = rows(section(contract, "Events in"), "attribute", "meaning")
    assert tuple(row[0] for row in listed) == MESSAGE_FIELDS


def test_event_of_the_contract_requests_its_image(contract: str) -> None:
    posted = json.loads(CODE.findall(section(contract, "Events in"))[0])
    event = envelope.parse(posted["headers"], json.dumps(posted["body"]).encode())
    assert isinstance(event.payload, ObjectFinalized)
    config = Config(
        gcs_bucket="acme-models", error_topic="e", upload_bucket=event.payload.bucket, results_bucket="r"
    )
    request = parse(event, config)
    assert (request.tenant_id, request.image.generation) == ("tenant-001", event.payload.generation)
    assert event.occurred_at is not None


@pytest.mark.parametrize("page", ["readme", "contract"])
def test_result_shown_in_a_page_is_valid(
    page: str, schema: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    results = [
        json.loads(code) for code in CODE.findall(request.getfixturevalue(page)) if "schema_version" in code
    ]
    assert len(results) == 1
    jsonschema.validate(results[0], schema)
    labels = [each["label"] for each in results[0]["detections"]]
    assert results[0]["counts"] == {label: labels.count(label) for label in labels}


def test_result_schema_is_a_valid_schema(schema: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator.check_schema(schema)
