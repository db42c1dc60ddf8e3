"""Every gcloud command of the build and of docs/deploy.md, past gcloud's own parser: no account, no network.

gcloud ends with 2 for a flag it does not have, and with 1 where only an account is missing. It does not look at
every value: a runtime or a role may be misspelt and pass.
"""

import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("gcloud"), reason="needs gcloud"),
    pytest.mark.timeout(300),
]
STEPS = ("topics", "process-upload", "process-message", "process-request", "deliveries")
LOCAL = (["gcloud", "config", "set"],)  # needs no account, so it cannot be refused one


@pytest.fixture
def refused(root, tmp_path):
    """Gives a function: a command -> what gcloud has against its form, or ""."""

    def run(command):
        done = subprocess.run(
            command,
            cwd=root,
            env={**os.environ, "CLOUDSDK_CONFIG": str(tmp_path), "CLOUDSDK_CORE_PROJECT": "demo-project"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        parsed = done.returncode == 1 and "active account" in done.stderr
        return "" if parsed else f"{' '.join(command)}\n{done.returncode}: {done.stderr}"

    return run


FLAG_OF_A_NAME = re.compile(r"(--(?:member|role|project|region|topic))=.*")
NAME = re.compile(r"(?!--)(?:tenant-vision-|process-|.*[:@/#]).*")


def shape(command):
    """Two commands that differ only in names, members and roles are parsed the same way."""
    return tuple(NAME.sub("a name", FLAG_OF_A_NAME.sub(r"\1", each)) for each in command)


def test_every_command_of_the_build_and_of_the_documentation_parses(run_step, documented, refused):
    commands = [command for step in STEPS for command in run_step(step)] + documented
    ours = [each for each in commands if each[0] == "gcloud" and each[:3] not in LOCAL]
    distinct = list({shape(each): each for each in ours}.values())
    assert len(distinct) > 25
    with ThreadPoolExecutor(2) as pool:
        complaints = [each for each in pool.map(refused, distinct) if each]
    assert not complaints, "\n".join(complaints)


@pytest.mark.parametrize("step", ["process-upload", "deliveries"])
def test_a_misspelt_flag_is_caught(run_step, refused, step):
    command = run_step(step)[-1]
    spoilt = [each.replace("--retry", "--retrie").replace("--ack-deadline", "--ack-deadlin") for each in command]
    assert spoilt != command
    assert "unrecognized arguments" in refused(spoilt)


def test_gcloud_knows_every_field_of_the_build(root, refused, tmp_path):
    submit = ["gcloud", "builds", "submit", "--no-source"]
    assert not refused([*submit, f"--config={root / 'cloudbuild.yaml'}"])
    spoilt = tmp_path / "spoilt.yaml"
    spoilt.write_text(
        (root / "cloudbuild.yaml").read_text().replace("dynamicSubstitutions", "dynamicSubstitution")
    )
    assert "unused" in refused([*submit, f"--config={spoilt}"])
