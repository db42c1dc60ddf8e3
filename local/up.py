"""The command `python -m local up`: runs the local stack until a signal stops it."""

import argparse
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from local.resources import RedeliveryPolicy
from local.server_process import StackError
from local.stack import DEFAULT_SOURCE, Stack

LOG_POLL_INTERVAL_S = 0.2
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequested(BaseException):
    """A signal asked this process to stop; a BaseException, so that handlers of errors let it pass."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    default = RedeliveryPolicy()
    parser.add_argument(
        "--env-file",
        type=Path,
        metavar="FILE",
        help="write the stack's environment variables to FILE as KEY=VALUE lines once it is ready",
    )
    parser.add_argument(
        "--source",
        type=Path,
        metavar="FILE",
        help="Python file with the functions (default: this repository's main.py)",
    )
    parser.add_argument("--quiet", action="store_true", help="do not print the functions' logs")
    delivery = parser.add_argument_group(
        "delivery", "when Pub/Sub redelivers what a function does not acknowledge"
    )
    delivery.add_argument(
        "--ack-deadline",
        type=int,
        default=default.ack_deadline_s,
        metavar="SECONDS",
        help="how long a function may take; Pub/Sub redelivers then (default: %(default)s)",
    )
    delivery.add_argument(
        "--min-backoff",
        type=float,
        default=default.min_backoff_s,
        metavar="SECONDS",
        help="delay of the first redelivery (default: %(default)s)",
    )
    delivery.add_argument(
        "--max-backoff",
        type=float,
        default=default.max_backoff_s,
        metavar="SECONDS",
        help="longest delay of a redelivery (default: %(default)s)",
    )
    delivery.add_argument(
        "--max-delivery-attempts",
        type=int,
        default=default.max_delivery_attempts,
        metavar="COUNT",
        help="number of deliveries before a message becomes a dead letter (default: %(default)s)",
    )


class StopSignals:
    """Raises Stopped in the main thread, once: stopping takes its two seconds at most, however impatient."""

    def __init__(self) -> None:
        self.received = False
        for number in STOP_SIGNALS:
            signal.signal(number, self._stop)

    def _stop(self, _number: int, _frame: object) -> NoReturn:
        self.received = True
        self.ignore()
        raise StopRequested

    def ignore(self) -> None:
        """Ignore stop signals from now on."""
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)


def run(arguments: argparse.Namespace) -> int:
    """Run the stack, and return the exit status: 0 if a signal stopped it, 1 if it failed."""
    signals = StopSignals()
    try:
        return _run(arguments, signals)
    except StopRequested:
        return 0


def _run(arguments: argparse.Namespace, signals: StopSignals) -> int:
    env_file: Path | None = arguments.env_file
    started_at = time.monotonic()
    stack = Stack(
        source=arguments.source or DEFAULT_SOURCE,
        redelivery=RedeliveryPolicy(
            ack_deadline_s=arguments.ack_deadline,
            min_backoff_s=arguments.min_backoff,
            max_backoff_s=arguments.max_backoff,
            max_delivery_attempts=arguments.max_delivery_attempts,
        ),
        remove_on_exit=[env_file] if env_file else [],
    )
    try:
        if env_file:
            env_file.unlink(missing_ok=True)  # left by an earlier run; its variables are not those of this stack
        stack.start()
        if env_file:
            write_env_file(env_file, stack.env)
        _print_summary(stack, env_file, time.monotonic() - started_at)
        if not arguments.quiet:
            threading.Thread(target=_print_logs, args=(stack,), name="show", daemon=True).start()
        while not signals.received:  # Python drops an exception that a signal handler raises inside a destructor
            stack.wait(timeout_s=1)
    except StackError as error:
        print(f"local up: {error}", file=sys.stderr)
        return 1
    finally:
        try:
            signals.ignore()
        finally:  # also if the first signal arrives during `ignore`; a second one is ignored
            if env_file:
                env_file.unlink(missing_ok=True)
            stack.stop()
    return 0


def write_env_file(path: Path, environment: Mapping[str, str]) -> None:
    """Write KEY=VALUE lines to a file atomically: a process that waits for the file never reads a part of it."""
    text = "".join(f"{key}={value}\n" for key, value in environment.items())
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    Path(draft).chmod(0o644)
    Path(draft).replace(path)


def format_log_line(name: str, line: str) -> str:
    """Return a function's log line for the terminal: a JSON entry as severity and message, others unchanged."""
    try:
        entry = json.loads(line)
        text = f"{entry['severity']:<8} {entry['message']}"
    except (ValueError, KeyError, TypeError):
        text = line
    return f"{name:<16} {text}\n"


def _print_summary(stack: Stack, env_file: Path | None, seconds: float) -> None:
    for key, value in stack.env.items():
        print(f"{key}={value}")
    written = f"These variables are in {env_file}. " if env_file else ""
    print(f"\nUp in {seconds:.1f} s. {written}Logs are in {stack.folder}. Ctrl-C stops the stack.", flush=True)


def _print_logs(stack: Stack) -> None:
    """Print the functions' logs with os.write: if nothing reads the pipe, a lock of sys.stdout stays held."""
    while True:
        try:
            for name, line in stack.fresh_lines():
                os.write(1, format_log_line(name, line).encode())
        except OSError:  # stdout is closed; the stack goes on without it
            return
        time.sleep(LOG_POLL_INTERVAL_S)
