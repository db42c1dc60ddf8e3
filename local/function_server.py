"""One entry point of main.py behind functions-framework, in a process of its own, as the platform runs it."""

import sys
from collections.abc import Mapping
from pathlib import Path

from local.leash import Leash
from local.log import Log
from local.port import LOOPBACK
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
    target: str, *, source: Path, environment: Mapping[str, str], folder: Path, leash: Leash
) -> ServerProcess:
    """Without the current folder on sys.path (-P): functions-framework adds the source's folder, last."""
    name = target.replace("_", "-")
    inherited = {key: value for key, value in environment.items() if key not in NOT_FOR_FUNCTIONS}

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
        environment={**inherited, "K_SERVICE": name, "K_REVISION": f"{name}-local", "PYTHONUNBUFFERED": "1"},
        folder=source.parent,
        log=Log(folder / f"{target}.log"),
        leash=leash,
    )
