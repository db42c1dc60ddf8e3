"""Server process of one function: an entry point of main.py under functions-framework."""

import sys
from collections.abc import Mapping
from pathlib import Path

from local.port import LOOPBACK
from local.process_group_reaper import ProcessGroupReaper
from local.process_log import ProcessLog
from local.server_process import ServerProcess

# They change what functions-framework does, and a developer's machine may set them for other programs.
REMOVED_VARIABLES = (
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
    """Return the server process of the function `target` of a source file."""

    def command(port: int) -> list[str]:
        return [
            sys.executable,
            "-P",  # without the current folder on sys.path: functions-framework appends the source's
            *("-m", "functions_framework"),
            *("--target", target, "--source", str(source)),
            *("--host", LOOPBACK, "--port", str(port)),
        ]

    return ServerProcess(
        target,
        command,
        health_path="/robots.txt",  # answered by functions-framework without calling the function
        environment=function_environment(target, environment),
        folder=source.parent,
        log=ProcessLog(folder / f"{target}.log"),
        reaper=reaper,
    )


def function_environment(target: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Return a function's environment variables: those of this machine, and those that the platform sets."""
    name = target.replace("_", "-")
    inherited = {key: value for key, value in environment.items() if key not in REMOVED_VARIABLES}
    # The emulators are on this machine, so they are not reached through a proxy.
    direct_hosts = [environment.get("no_proxy"), environment.get("NO_PROXY"), LOOPBACK, "localhost"]
    no_proxy = ",".join(filter(None, direct_hosts))
    return inherited | {
        "K_SERVICE": name,
        "K_REVISION": f"{name}-local",
        "NO_PROXY": no_proxy,
        "no_proxy": no_proxy,
        "PYTHONUNBUFFERED": "1",
    }
