"""The emulators, once for all tests, and main.py as functions-framework serves it."""

import json
import logging
import sys
from pathlib import Path
from types import SimpleNamespace

import hypothesis
import pytest
from functions_framework import create_app

from local.stack import Stack
from shared.config import Config
from shared.ml.model_cache import ModelCache
from testing.cloud import Cloud

ROOT = Path(__file__).parents[1]
INSTANCE_MODULES = ("main", "functions.entry_points", "functions.bootstrap")  # their import makes an instance

hypothesis.settings.register_profile("steady", deadline=None)  # a busy machine is no fault of the code's
hypothesis.settings.load_profile("steady")


@pytest.fixture(scope="session")
def root():
    return ROOT


@pytest.fixture(scope="session")
def emulators():
    """Storage and Pub/Sub, without any function."""
    with Stack(targets=()) as stack:
        yield stack


@pytest.fixture
def cloud(emulators):
    """Empty buckets and an error topic that nobody else has."""
    return Cloud(emulators)


@pytest.fixture
def serve(monkeypatch):
    """Gives a function: an entry point's name and its settings -> a test client of the real main.py."""
    monkeypatch.setattr(sys, "path", list(sys.path))  # functions-framework adds to it
    for name in [each.metadata["name"] for each in Config.__dataclass_fields__.values()]:
        monkeypatch.delenv(name, raising=False)

    def start(target, settings):
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        for name in INSTANCE_MODULES:
            sys.modules.pop(name, None)
        return create_app(target, str(ROOT / "main.py")).test_client()

    yield start
    for name in ("functions", "shared"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.setLevel(logging.NOTSET)
        logger.propagate = True
    ModelCache.clear_cache()


@pytest.fixture
def lines(capsys):
    """Gives a function: the log lines written since it was last called, and of those the summaries."""

    def read():
        written = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        return SimpleNamespace(all=written, summaries=[line for line in written if "verdict" in line])

    return read
