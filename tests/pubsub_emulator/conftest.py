"""Two servers behind one contract: ours, and Google's emulator where it is installed."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import grpc
import pytest

from pubsub_emulator import PubSubServer
from tests.pubsub_emulator.clouds import connected
from tests.pubsub_emulator.waiting import free_port, until


@pytest.fixture(scope="session")
def our_server():
    with PubSubServer() as server:
        yield server.host_port


@pytest.fixture(scope="session")
def googles_emulator(tmp_path_factory):
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
                said = (folder / "log").read_text(errors="replace")[-500:]
                pytest.skip(f"Google's emulator does not start here: {said}")
        yield host_port
    finally:
        end_group(process)


def end_group(process):
    """End a process and everything that it started."""

    def is_gone():
        process.poll()
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return True
        return False

    os.killpg(process.pid, signal.SIGTERM)
    try:
        until(is_gone, within_s=5)
    except AssertionError:
        os.killpg(process.pid, signal.SIGKILL)
        until(is_gone, within_s=5)


@pytest.fixture(params=["ours", pytest.param("googles", marks=pytest.mark.slow)])
def cloud(request, monkeypatch):
    is_googles = request.param == "googles"
    host_port = request.getfixturevalue("googles_emulator" if is_googles else "our_server")
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", host_port)
    with connected(is_googles=is_googles) as made:
        yield made
