"""The scripts of the build are run for real, against a gcloud that records."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from testing.cloud_build import Build, Command, Record, RunStep, read_build, replace_references, resolve

# Stands in for gcloud and curl: records its arguments, and prints the values that the scripts read.
RECORDER: Final = """#!{python} -SE
import json, os, sys
with open(os.environ["RECORDED"], "a") as recorded:
    recorded.write(json.dumps([os.path.basename(sys.argv[0]), *sys.argv[1:]]) + "\\n")
command = " ".join(sys.argv[1:])
if command.startswith("pubsub") and " describe " in command:
    sys.exit(command.split()[3] not in os.environ.get("EXISTING", "").split())
if "value(eventTrigger.trigger)" in command:
    print(f"projects/demo-project/locations/eu/triggers/{{sys.argv[3]}}-000001")
elif "value(transport.pubsub.subscription)" in command:
    print(f"projects/demo-project/subscriptions/eventarc-eu-{{sys.argv[4].split('/')[-1]}}-sub-001")
elif "value(projectNumber)" in command:
    print("123456789012")
elif "service-agent" in command:
    print("service-123456789012@gs-project-accounts.iam.gserviceaccount.com")
elif "value(serviceConfig.uri)" in command:
    print("https://process-request-abc.a.run.app")
elif "print-" in command:
    print("a-token")
"""


@pytest.fixture(scope="session")
def build() -> Build:
    return read_build()


@pytest.fixture(scope="session")
def values(build: Build) -> dict[str, str]:
    """The default substitutions, resolved."""
    return resolve(build.document["substitutions"])


@pytest.fixture(scope="session")
def record(tmp_path_factory: pytest.TempPathFactory) -> Record:
    """A function: a script and its environment -> the commands it ran, argument by argument."""
    folder = tmp_path_factory.mktemp("recorder")
    for name in ("gcloud", "curl"):
        (folder / name).write_text(RECORDER.format(python=sys.executable))
        (folder / name).chmod(0o755)
    recorded = folder / "recorded"

    def record(script: str, environment: Mapping[str, str]) -> list[Command]:
        recorded.write_text("")
        path = f"{folder}{os.pathsep}{os.environ['PATH']}"
        process = subprocess.run(
            ["bash", "-c", script],
            env={"PATH": path, "RECORDED": str(recorded), **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert process.returncode == 0, process.stderr
        return [json.loads(line) for line in recorded.read_text().splitlines()]

    if not shutil.which("bash"):
        pytest.skip("the scripts of the build are written for bash")
    return record


@pytest.fixture(scope="session")
def run_step(build: Build, values: Mapping[str, str], record: Record) -> RunStep:
    @cache
    def run_step(step_id: str, **environment: str) -> list[Command]:
        step = build.steps[step_id]
        if "args" in step:
            return [[step["entrypoint"], *(replace_references(argument, values) for argument in step["args"])]]
        own = dict(replace_references(variable, values).split("=", 1) for variable in step["env"])
        return record(step["script"], {**own, **environment})

    return run_step


@pytest.fixture(scope="session")
def documented(record: Record, root: Path) -> list[Command]:
    """The commands of docs/deploy.md, all its blocks in order as one session."""
    text = (root / "docs" / "deploy.md").read_text()
    return record("set -euo pipefail\n" + "\n".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL)), {})
