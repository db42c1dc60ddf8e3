"""Two emulators for one contract: the one of this repository, and Google's where it is installed."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from pubsub_emulator import PubSubServer
from tests.pubsub_emulator.client import PubSubClient, connected
from tests.pubsub_emulator.waiting import free_port, wait_until


@pytest.fixture(scope="session")
def own_emulator() -> Iterator[str]:
    """HOST:PORT of this repository's emulator."""
    with PubSubServer() as server:
        yield server.host_port


@pytest.fixture(scope="session")
def google_emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """HOST:PORT of Google's emulator; skips the test if it is not installed."""
    gcloud = shutil.which("gcloud")
    if gcloud is None or shutil.which("java") is None:
        pytest.skip("gcloud and java are not both installed")
    if not (Path(gcloud).resolve().parents[1] / "platform" / "pubsub-emulator").is_dir():
        pytest.skip("gcloud has no component pubsub-emulator")
    folder = tmp_path_factory.mktemp("emulator")
    host_port = f"127.0.0.1:{free_port()}"
    command = [gcloud, "beta", "emulators", "pubsub", "start", f"--host-port={host_port}", f"--data-dir={folder}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            env=os.environ | {"CLOUDSDK_CONFIG": str(folder), "CLOUDSDK_CORE_DISABLE_PROMPTS": "1"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        with grpc.insecure_channel(host_port) as channel:
            try:
                grpc.channel_ready_future(channel).result(timeout=40)
            except grpc.FutureTimeoutError:
                log_end = (folder / "log").read_text(errors="replace")[-500:]
                pytest.skip(f"Google's emulator does not start here: {log_end}")
        yield host_port
    finally:
        stop_process_group(process)


def stop_process_group(process: subprocess.Popen[bytes]) -> None:
    """End a process and everything that it started."""

    def has_ended() -> bool:
        process.poll()
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return True
        return False

    os.killpg(process.pid, signal.SIGTERM)
    try:
        wait_until(has_ended, within_s=5)
    except AssertionError:
        os.killpg(process.pid, signal.SIGKILL)
        wait_until(has_ended, within_s=5)


@pytest.fixture(params=["own", pytest.param("google", marks=pytest.mark.slow)])
def pubsub(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[PubSubClient]:
    """The clients of one of the two emulators."""
    is_google = request.param == "google"
    host_port = request.getfixturevalue("google_emulator" if is_google else "own_emulator")
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", host_port)
    with connected(is_google=is_google) as client:
        yield client
