"""Fixtures of all tests: the emulators, and main.py as functions-framework serves it."""

import json
import logging
import sys
from collections.abc import Generator, Iterator, Mapping
from dataclasses import fields
from pathlib import Path

import hypothesis
import pytest
from flask.testing import FlaskClient
from functions_framework import create_app

from functions.app import App
from local.stack import Stack
from shared.config import Config
from shared.ml.model_cache import ModelCache
from testing.cloud import Cloud
from testing.serving import LogLines, ReadLogLines, ServeFunction

ROOT = Path(__file__).parents[1]
INSTANCE_MODULES = ("main", "functions.entry_points", "functions.bootstrap")  # importing them makes an instance

hypothesis.settings.register_profile("steady", deadline=None)  # a slow machine must not fail a test
hypothesis.settings.load_profile("steady")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Escape lone surrogates in captured output: pytest-xdist sends reports between processes as UTF-8."""
    report = yield
    report.sections = [(name, _escape_surrogates(text)) for name, text in report.sections]
    return report


def _escape_surrogates(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the root of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def emulators() -> Iterator[Stack]:
    """Run storage and Pub/Sub, without any function."""
    with Stack(targets=()) as stack:
        yield stack


@pytest.fixture
def cloud(emulators: Stack) -> Cloud:
    """Return empty buckets and an error topic of this test's own."""
    return Cloud(emulators)


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[ServeFunction]:
    """Return a function that starts an instance of the real main.py and returns a client of it."""
    monkeypatch.setattr(sys, "path", list(sys.path))  # functions-framework adds to it
    for field in fields(Config):
        monkeypatch.delenv(field.metadata["name"], raising=False)

    def start(target: str, settings: Mapping[str, str]) -> FlaskClient:
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        for name in INSTANCE_MODULES:
            sys.modules.pop(name, None)
        client: FlaskClient = create_app(  # type: ignore[no-untyped-call]
            target, str(ROOT / "main.py")
        ).test_client()
        instances.append(sys.modules["functions.bootstrap"].APP)
        return client

    instances: list[App] = []
    yield start
    for instance in instances:
        instance.close()
    for name in ("functions", "shared"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.setLevel(logging.NOTSET)
        logger.propagate = True
    ModelCache.clear_cache()


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> ReadLogLines:
    """Return a function that reads the log lines written since its last call."""

    def read() -> LogLines:
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        return LogLines(lines, [line for line in lines if "verdict" in line])

    return read
