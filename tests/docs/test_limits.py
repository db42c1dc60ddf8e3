"""docs/security.md names each limit with the value it has in the code."""

import re
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import pytest

from shared.config import Config

PAGE = (Path(__file__).parents[2] / "docs" / "security.md").read_text()
LIMITS = re.findall(r"^\| .+ \| ([0-9]+)(?: \w+)? \| `([\w.]+)` \|$", PAGE, re.MULTILINE)
DEFAULTS = {each.metadata["name"]: each.default for each in fields(Config)}


def test_every_limit_of_the_settings_is_there():
    named = {name for _, name in LIMITS}
    assert named >= {name for name in DEFAULTS if name.startswith("MAX_")} - {"MAX_DETECTIONS", "MAX_EVENT_AGE"}


@pytest.mark.parametrize(("value", "name"), LIMITS, ids=[name for _, name in LIMITS])
def test_a_limit_is_what_the_page_says(value, name):
    module, _, constant = name.rpartition(".")
    assert int(value) == (getattr(import_module(module), constant) if module else DEFAULTS[name])
