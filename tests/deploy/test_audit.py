"""`make audit`: vulnerable packages are found, and an audit that was not done says so and claims nothing."""

import json
import os
import subprocess
import sys

import pytest

from testing import faults


@pytest.fixture
def audit(root):
    """Gives a function: the address of an advisory service -> the exit status and what was said."""

    def run(url):
        done = subprocess.run(
            [sys.executable, root / ".ci" / "audit.py"],
            env={"PATH": os.environ["PATH"], "OSV_URL": url},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.stderr == ""
        return done.returncode, done.stdout

    return run


@pytest.fixture(scope="module")
def count(root):
    """How many packages and versions both locks name."""
    lines = [
        line.split(" ")[0]
        for lock in ("requirements.txt", "requirements-dev.txt")
        for line in (root / lock).read_text().splitlines()
        if "==" in line and line[0] not in " #"
    ]
    assert {"pillow", "pytest"} <= {line.split("==")[0] for line in lines}
    return len(set(lines))


def answer(*results):
    return faults.Answer(body=json.dumps({"results": results}).encode())


def test_no_advisory_is_no_failure(audit, count):
    with faults.storage_that_answers(answer(*[{}] * count)) as (url, requests):
        assert audit(url) == (0, f"audit: {count} packages, 0 with known vulnerabilities\n")
    assert requests == ["POST /v1/querybatch"]


def test_an_advisory_fails_and_names_the_package_and_its_locks(audit, count):
    first = {"vulns": [{"id": "GHSA-1"}, {"id": "PYSEC-2"}]}
    with faults.storage_that_answers(answer(first, *[{}] * (count - 1))) as (url, _):
        status, said = audit(url)
    assert status == 1
    assert "(requirements.txt, requirements-dev.txt): GHSA-1, PYSEC-2\n" in said


@pytest.mark.parametrize(
    "answered", [faults.Answer(503), faults.Answer(body=b"<html>"), answer(), answer({}), faults.RESET]
)
def test_an_answer_that_says_nothing_is_an_audit_that_was_not_done(answered, audit):
    with faults.storage_that_answers(answered) as (url, _):
        status, said = audit(url)
    assert (status, said.count("\n")) == (0, 1)
    assert said.startswith("audit: NOT DONE, nothing is known")


def test_without_a_network_the_audit_says_that_it_was_not_done(audit):
    status, said = audit("http://127.0.0.1:1")
    assert status == 0
    assert said.startswith("audit: NOT DONE, nothing is known")
