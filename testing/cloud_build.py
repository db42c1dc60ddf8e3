"""cloudbuild.yaml as data, and the types of the fixtures that run its steps."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import yaml

ROOT: Final = Path(__file__).parents[1]
BUILT_IN_SUBSTITUTIONS: Final = {"PROJECT_ID": "demo-project", "PROJECT_NUMBER": "123456789012"}
_REFERENCE: Final = re.compile(r"\$\{?([A-Z_][A-Z0-9_]*)\}?")

Command = list[str]  # a program and its arguments
Record = Callable[[str, Mapping[str, str]], list[Command]]  # a script, its environment -> the commands it ran


class RunStep(Protocol):
    """Runs a step of the build, with the default substitutions, and returns the commands it ran."""

    def __call__(self, step_id: str, **environment: str) -> list[Command]: ...


@dataclass(frozen=True)
class Build:
    """The document, and its steps by id."""

    document: dict[str, Any]
    steps: dict[str, dict[str, Any]]

    def substitute(self, text: str, **substitutions: str) -> str:
        """Return `text` as a step sees it, if `substitutions` are given with --substitutions."""
        return replace_references(text, resolve({**self.document["substitutions"], **substitutions}))


def read_build() -> Build:
    document = yaml.safe_load((ROOT / "cloudbuild.yaml").read_text())
    return Build(document, steps={step["id"]: step for step in document["steps"]})


def references(text: str) -> set[str]:
    """Return the names of the substitutions or variables that `text` refers to."""
    return set(_REFERENCE.findall(text))


def resolve(substitutions: Mapping[str, str]) -> dict[str, str]:
    """Replace the substitutions inside substitutions, as Cloud Build's dynamicSubstitutions does."""
    values = {**BUILT_IN_SUBSTITUTIONS, **substitutions}
    for _ in range(len(values)):
        values = {name: replace_references(text, values) for name, text in values.items()}
    return values


def replace_references(text: str, values: Mapping[str, str]) -> str:
    return _REFERENCE.sub(lambda match: values[match[1]], text)


def flags(command: Iterable[str]) -> dict[str, list[str]]:
    """Return the values of each flag of a command, in order; "" for a flag without a value."""
    values: dict[str, list[str]] = {}
    for argument in command:
        if argument.startswith("--"):
            name, _, value = argument.partition("=")
            values.setdefault(name, []).append(value)
    return values
