"""`make audit` finds vulnerable packages, and claims nothing if it could not check."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from testing import scripted_server

Audit = Callable[..., tuple[int, str]]


@pytest.fixture
def audit(root: Path) -> Audit:
    """A function: the URL of an advisory service, arguments and variables -> exit status and output."""

    def audit(url: str, *arguments: str, variables: Mapping[str, str] | None = None) -> tuple[int, str]:
        process = subprocess.run(
            [sys.executable, root / ".ci" / "audit.py", *arguments],
            env={"PATH": os.environ["PATH"], "OSV_URL": url, **(variables or {})},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert process.stderr == ""
        return process.returncode, process.stdout

    return audit


@pytest.fixture(scope="module")
def package_count(root: Path) -> int:
    """How many packages and versions both locks name."""
    lines = [
        line.split(" ")[0]
        for lock in ("requirements.txt", "requirements-dev.txt")
        for line in (root / lock).read_text().splitlines()
        if "==" in line and line[0] not in " #"
    ]
    assert {"pillow", "pytest"} <= {line.split("==")[0] for line in lines}
    return len(set(lines))


def advisories(*results: Mapping[str, object]) -> scripted_server.Response:
    return scripted_server.Response(body=json.dumps({"results": results}).encode())


def test_audit_passes_without_advisories(audit: Audit, package_count: int) -> None:
    with scripted_server.serve_responses(advisories(*[{}] * package_count)) as (url, requests):
        assert audit(url) == (0, f"audit: {package_count} packages, 0 with known vulnerabilities\n")

    assert requests == ["POST /v1/querybatch"]


def test_audit_fails_with_an_advisory_and_names_package_and_locks(audit: Audit, package_count: int) -> None:
    first = {"vulns": [{"id": "GHSA-1"}, {"id": "PYSEC-2"}]}

    with scripted_server.serve_responses(advisories(first, *[{}] * (package_count - 1))) as (url, _):
        status, output = audit(url)

    assert status == 1
    assert "(requirements.txt, requirements-dev.txt): GHSA-1, PYSEC-2\n" in output


@pytest.mark.parametrize(
    "answer",
    [
        scripted_server.Response(503),
        scripted_server.Response(body=b"<html>"),
        advisories(),
        advisories({}),
        scripted_server.RESET,
    ],
    ids=["503", "a page", "no results", "too few results", "a reset"],
)
def test_audit_without_a_usable_answer_says_nothing_was_checked(
    answer: scripted_server.Response | str, audit: Audit
) -> None:
    with scripted_server.serve_responses(answer) as (url, _):
        status, output = audit(url)

    assert (status, output.count("\n")) == (0, 1)
    assert output.startswith("audit: NOTHING WAS CHECKED")


def test_audit_without_a_network_says_nothing_was_checked(audit: Audit) -> None:
    status, output = audit("http://127.0.0.1:1")

    assert status == 0
    assert output.startswith("audit: NOTHING WAS CHECKED")


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [(("--strict",), {}), ((), {"AUDIT_STRICT": "1"})],
    ids=["--strict", "AUDIT_STRICT=1"],
)
def test_strict_audit_fails_without_a_network(
    arguments: tuple[str, ...], variables: dict[str, str], audit: Audit
) -> None:
    status, output = audit("http://127.0.0.1:1", *arguments, variables=variables)

    assert status == 1
    assert output.startswith("audit: NOTHING WAS CHECKED")


def test_audit_is_not_strict_with_audit_strict_0(audit: Audit) -> None:
    status, _ = audit("http://127.0.0.1:1", variables={"AUDIT_STRICT": "0"})

    assert status == 0
