"""The build as data, and its commands: the scripts are run for real, against a gcloud that records."""

import json
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

ROOT = Path(__file__).parents[2]
BUILT_IN = {"PROJECT_ID": "demo-project", "PROJECT_NUMBER": "123456789012"}
REFERENCE = re.compile(r"\$\{?([A-Z_][A-Z0-9_]*)\}?")

# Stands in for gcloud and curl: notes its arguments, and says what the scripts ask to be told.
RECORDER = """#!{python} -SE
import json, os, sys
with open(os.environ["RECORDED"], "a") as recorded:
    recorded.write(json.dumps([os.path.basename(sys.argv[0]), *sys.argv[1:]]) + "\\n")
said = " ".join(sys.argv[1:])
if said.startswith("pubsub") and " describe " in said:
    sys.exit(said.split()[3] not in os.environ.get("THERE_ALREADY", "").split())
if "value(eventTrigger.trigger)" in said:
    print(f"projects/demo-project/locations/eu/triggers/{{sys.argv[3]}}-000001")
elif "value(transport.pubsub.subscription)" in said:
    print(f"projects/demo-project/subscriptions/eventarc-eu-{{sys.argv[4].split('/')[-1]}}-sub-001")
elif "value(projectNumber)" in said:
    print("123456789012")
elif "service-agent" in said:
    print("service-123456789012@gs-project-accounts.iam.gserviceaccount.com")
elif "value(serviceConfig.uri)" in said:
    print("https://process-request-abc.a.run.app")
elif "print-" in said:
    print("a-token")
"""


def references(text):
    return set(REFERENCE.findall(text))


def resolved(substitutions):
    """The substitutions with those inside them replaced, as dynamicSubstitutions does."""
    values = {**BUILT_IN, **substitutions}
    for _ in values:
        values = {name: replaced(text, values) for name, text in values.items()}
    return values


def replaced(text, values):
    return REFERENCE.sub(lambda match: values[match[1]], text)


@pytest.fixture(scope="session")
def root():
    return ROOT


@pytest.fixture(scope="session")
def build():
    """cloudbuild.yaml, its steps by id."""
    read = yaml.safe_load((ROOT / "cloudbuild.yaml").read_text())
    return SimpleNamespace(read=read, steps={step["id"]: step for step in read["steps"]})


@pytest.fixture(scope="session")
def values(build):
    return resolved(build.read["substitutions"])


@pytest.fixture(scope="session")
def substitute(build):
    """Gives a function: some text, and what was said with --substitutions -> the text as a step sees it."""
    return lambda text, **given: replaced(text, resolved({**build.read["substitutions"], **given}))


@pytest.fixture(scope="session")
def record(tmp_path_factory):
    """Gives a function: a script and its environment -> the commands it ran, argument by argument."""
    folder = tmp_path_factory.mktemp("recorder")
    for name in ("gcloud", "curl"):
        (folder / name).write_text(RECORDER.format(python=sys.executable))
        (folder / name).chmod(0o755)
    recorded = folder / "recorded"

    def run(script, environment=None):
        recorded.write_text("")
        path = f"{folder}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-c", script],
            env={"PATH": path, "RECORDED": str(recorded), **(environment or {})},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in recorded.read_text().splitlines()]

    if not shutil.which("bash"):
        pytest.skip("the scripts of the build are written for bash")
    return run


@pytest.fixture(scope="session")
def run_step(build, values, record):
    """Gives a function: a step's id -> the commands that step runs, with the default substitutions."""

    @cache
    def run(name, **environment):
        step = build.steps[name]
        if "args" in step:
            return [[step["entrypoint"], *(replaced(each, values) for each in step["args"])]]
        env = dict(replaced(each, values).split("=", 1) for each in step["env"])
        return record(step["script"], {**env, **environment})

    return run


@pytest.fixture(scope="session")
def documented(record):
    """The commands of docs/deploy.md, all its blocks in order as one session."""
    text = (ROOT / "docs" / "deploy.md").read_text()
    return record("set -euo pipefail\n" + "\n".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL)))


def _flags(command):
    """What follows each flag of a command, in order; "" for a flag that takes nothing."""
    found = {}
    for each in command:
        if each.startswith("--"):
            name, _, value = each.partition("=")
            found.setdefault(name, []).append(value)
    return found


@pytest.fixture(scope="session")
def flags():
    return _flags
