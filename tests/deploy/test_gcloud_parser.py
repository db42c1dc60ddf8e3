"""gcloud's own parser accepts every command of the build and of docs/deploy.md, without account or network.

gcloud exits with 2 for an unknown flag, and with 1 if only an account is missing. It does not check every value: a
misspelt runtime or role passes.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from testing.cloud_build import Command, RunStep

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("gcloud"), reason="needs gcloud"),
    pytest.mark.timeout(300),
]
STEPS: Final = ("topics", "process-upload", "process-message", "process-request", "deliveries")
NEEDS_NO_ACCOUNT: Final = (["gcloud", "config", "set"],)
_FLAG_WITH_A_NAME: Final = re.compile(r"(--(?:member|role|project|region|topic))=.*")
_NAME: Final = re.compile(r"(?!--)(?:tenant-vision-|process-|.*[:@/#]).*")

ParseError = Callable[[Command], str]


@pytest.fixture
def parse_error(root: Path, tmp_path: Path) -> ParseError:
    """A function: a command -> gcloud's complaint about its form, or ""."""

    def parse_error(command: Command) -> str:
        process = subprocess.run(
            command,
            cwd=root,
            env={**os.environ, "CLOUDSDK_CONFIG": str(tmp_path), "CLOUDSDK_CORE_PROJECT": "demo-project"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        parsed = process.returncode == 1 and "active account" in process.stderr
        return "" if parsed else f"{' '.join(command)}\n{process.returncode}: {process.stderr}"

    return parse_error


def shape(command: Command) -> tuple[str, ...]:
    """Return the command without names, members and roles: commands of one shape are parsed the same way."""
    return tuple(_NAME.sub("a name", _FLAG_WITH_A_NAME.sub(r"\1", argument)) for argument in command)


def test_every_command_of_build_and_documentation_parses(
    run_step: RunStep, documented: list[Command], parse_error: ParseError
) -> None:
    commands = [command for step in STEPS for command in run_step(step)] + documented
    checked = [each for each in commands if each[0] == "gcloud" and each[:3] not in NEEDS_NO_ACCOUNT]
    distinct = list({shape(command): command for command in checked}.values())
    assert len(distinct) > 25

    with ThreadPoolExecutor(2) as pool:
        errors = [error for error in pool.map(parse_error, distinct) if error]

    assert not errors, "\n".join(errors)


@pytest.mark.parametrize("step", ["process-upload", "deliveries"])
def test_misspelt_flag_is_detected(run_step: RunStep, parse_error: ParseError, step: str) -> None:
    command = run_step(step)[-1]
    misspelt = [arg.replace("--retry", "--retrie").replace("--ack-deadline", "--ack-deadlin") for arg in command]
    assert misspelt != command

    assert "unrecognized arguments" in parse_error(misspelt)


def test_gcloud_knows_every_field_of_the_build(root: Path, parse_error: ParseError, tmp_path: Path) -> None:
    submit = ["gcloud", "builds", "submit", "--no-source"]
    misspelt = tmp_path / "misspelt.yaml"
    misspelt.write_text(
        (root / "cloudbuild.yaml").read_text().replace("dynamicSubstitutions", "dynamicSubstitution")
    )

    assert not parse_error([*submit, f"--config={root / 'cloudbuild.yaml'}"])
    assert "unused" in parse_error([*submit, f"--config={misspelt}"])
