"""The import of main.py: no client, no thread, no Pub/Sub, and an error for an invalid setting."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from shared.errors import ConfigError
from testing.case_ids import case_id
from testing.serving import ServeFunction

SETTINGS = {"GCS_BUCKET": "models", "ERROR_TOPIC": "errors"}
SCRIPT = """
import json, socket, sys, threading
class NoNetwork(socket.socket):
    def connect(self, *_): raise AssertionError("connects at import")
socket.socket = NoNetwork
import main
from functions.bootstrap import APP
from shared.cloud.object_store import ObjectStore
stores = [vars(APP._pipeline._stores)["_store"]]
assert [type(each) for each in stores] == [ObjectStore]
print(json.dumps({
    "modules": [name for name in sys.modules if name.startswith("google.")],
    "threads": [thread.name for thread in threading.enumerate()],
    "clients": [store._client is not None for store in stores],
    "exported": sorted(main.__all__),
}))
"""


@pytest.fixture(scope="module")
def imported(root: Path) -> dict[str, Any]:
    """Import main.py in a new process, and return what it loaded and started."""
    environment = {"PATH": os.environ["PATH"], **SETTINGS}
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    report: dict[str, Any] = json.loads(process.stdout)
    return report


def test_import_does_not_load_pub_sub(imported: dict[str, Any]) -> None:
    assert not [name for name in imported["modules"] if "pubsub" in name]


def test_import_starts_no_thread_and_creates_no_client(imported: dict[str, Any]) -> None:
    assert imported["threads"] == ["MainThread"]
    assert imported["clients"] == [False]


def test_main_exports_only_the_three_entry_points(imported: dict[str, Any]) -> None:
    assert imported["exported"] == ["process_message", "process_request", "process_upload"]


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({}, "GCS_BUCKET"),
        ({"GCS_BUCKET": "models"}, "ERROR_TOPIC"),
        (SETTINGS | {"GCS_BUCKET": "gs://models"}, "GCS_BUCKET"),
        (SETTINGS | {"CONFIDENCE_THRESHOLD": "high"}, "CONFIDENCE_THRESHOLD"),
        (SETTINGS | {"RESULTS_BUCKET": "models/uploads"}, "RESULTS_BUCKET"),
    ],
    ids=case_id,
)
def test_invalid_setting_stops_the_start_and_is_named(
    settings: Mapping[str, str], name: str, serve: ServeFunction
) -> None:
    with pytest.raises(ConfigError, match=name):
        serve("process_upload", settings)
