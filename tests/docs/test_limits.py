"""docs/security.md names each limit with the value that it has in the code."""

import re
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Final

import pytest

from shared.config import Config

PAGE: Final = (Path(__file__).parents[2] / "docs" / "security.md").read_text()
LIMITS: Final = re.findall(r"^\| .+ \| ([0-9]+)(?: \w+)? \| `([\w.]+)` \|$", PAGE, re.MULTILINE)
DEFAULTS: Final = {field.metadata["name"]: field.default for field in fields(Config)}


def test_page_lists_every_limit_of_the_settings() -> None:
    listed = {name for _, name in LIMITS}

    assert listed >= {name for name in DEFAULTS if name.startswith("MAX_")} - {"MAX_DETECTIONS", "MAX_EVENT_AGE"}


@pytest.mark.parametrize(("value", "name"), LIMITS, ids=[name for _, name in LIMITS])
def test_limit_on_the_page_is_that_of_the_code(value: str, name: str) -> None:
    module, _, constant = name.rpartition(".")

    assert int(value) == (getattr(import_module(module), constant) if module else DEFAULTS[name])
