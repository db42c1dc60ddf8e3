"""One entry point of main.py behind functions-framework, in a process of its own, as the platform runs it."""

import sys
from collections.abc import Mapping
from pathlib import Path

from local.port import LOOPBACK
from local.process_group_reaper import ProcessGroupReaper
from local.process_log import ProcessLog
from local.server_process import ServerProcess

# Set for something else on a developer's machine, they would change what functions-framework does.
NOT_FOR_FUNCTIONS = (
    "DEBUG",
    "FUNCTION_SIGNATURE_TYPE",
    "FUNCTION_SOURCE",
    "FUNCTION_USE_ASGI",
    "HOST",
    "PORT",
)


def function_server(
    target: str, *, source: Path, environment: Mapping[str, str], folder: Path, reaper: ProcessGroupReaper
) -> ServerProcess:
    """Without the current folder on sys.path (-P): functions-framework adds the source's folder, last."""

    def command(port: int) -> list[str]:
        framework = [sys.executable, "-P", "-m", "functions_framework"]
        return [
            *framework,
            "--target",
            target,
            "--source",
            str(source),
            "--host",
            LOOPBACK,
            "--port",
            str(port),
        ]

    return ServerProcess(
        target,
        command,
        health_path="/robots.txt",  # answered by functions-framework itself: wakes no function
        environment=function_environment(target, environment),
        folder=source.parent,
        log=ProcessLog(folder / f"{target}.log"),
        reaper=reaper,
    )


def function_environment(target: str, environment: Mapping[str, str]) -> dict[str, str]:
    """What the platform sets, and what this machine has, without what would come between."""
    name = target.replace("_", "-")
    own = {key: value for key, value in environment.items() if key not in NOT_FOR_FUNCTIONS}
    # A proxy that the environment names is not for this machine's own emulators.
    direct = [environment.get("no_proxy"), environment.get("NO_PROXY"), LOOPBACK, "localhost"]
    no_proxy = ",".join(filter(None, direct))
    return own | {
        "K_SERVICE": name,
        "K_REVISION": f"{name}-local",
        "NO_PROXY": no_proxy,
        "no_proxy": no_proxy,
        "PYTHONUNBUFFERED": "1",
    }
