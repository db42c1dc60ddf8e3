"""`python -m local up`: the stack for a person or for another process, until it is told to stop."""

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

SHOW_EVERY_S = 0.2
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequested(BaseException):
    """A signal asked us to stop; not an Exception, so that nothing on the way takes it for an error."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    usual = RedeliveryPolicy()
    parser.add_argument("--env-file", type=Path, help="KEY=VALUE lines go here once everything answers")
    parser.add_argument("--source", type=Path, help="the functions' source (default: this repository's main.py)")
    parser.add_argument("--quiet", action="store_true", help="do not show what the functions log")
    delivery = parser.add_argument_group("delivery", "how Pub/Sub delivers again what a function did not take")
    delivery.add_argument("--ack-deadline", type=int, default=usual.ack_deadline_s, metavar="SECONDS")
    delivery.add_argument("--min-backoff", type=float, default=usual.min_backoff_s, metavar="SECONDS")
    delivery.add_argument("--max-backoff", type=float, default=usual.max_backoff_s, metavar="SECONDS")
    delivery.add_argument(
        "--max-delivery-attempts",
        type=int,
        default=usual.max_delivery_attempts,
        help="then it is a dead letter",
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
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)


def run(arguments: argparse.Namespace) -> int:
    signals = StopSignals()
    try:
        return _run(arguments, signals)
    except StopRequested:
        return 0


def _run(arguments: argparse.Namespace, signals: StopSignals) -> int:
    env_file: Path | None = arguments.env_file
    began = time.monotonic()
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
            env_file.unlink(missing_ok=True)  # of a run that could not tidy up: it would be taken for ours
        stack.start()
        if env_file:
            write_env_file(env_file, stack.env)
        _introduce(stack, env_file, time.monotonic() - began)
        if not arguments.quiet:
            threading.Thread(target=_show, args=(stack,), name="show", daemon=True).start()
        while not signals.received:  # an exception raised inside a destructor, say, is not passed on
            stack.wait(timeout_s=1)
    except StackError as error:
        print(f"local up: {error}", file=sys.stderr)
        return 1
    finally:
        try:
            signals.ignore()
        finally:  # a first signal may come this late; there is no second
            if env_file:
                env_file.unlink(missing_ok=True)
            stack.stop()
    return 0


def write_env_file(path: Path, environment: Mapping[str, str]) -> None:
    """All of it or nothing: whoever waits for the file may read it as soon as it is there."""
    text = "".join(f"{key}={value}\n" for key, value in environment.items())
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    Path(draft).chmod(0o644)
    Path(draft).replace(path)


def summary(name: str, line: str) -> str:
    """A function's log line for a person: severity and message of a JSON line, anything else as it is."""
    try:
        entry = json.loads(line)
        text = f"{entry['severity']:<8} {entry['message']}"
    except (ValueError, KeyError, TypeError):
        text = line
    return f"{name:<16} {text}\n"


def _introduce(stack: Stack, env_file: Path | None, seconds: float) -> None:
    for key, value in stack.env.items():
        print(f"{key}={value}")
    where = f", in {env_file}" if env_file else ""
    print(f"\nUp in {seconds:.1f} s{where}. Logs in {stack.folder}. Ctrl-C stops it.", flush=True)


def _show(stack: Stack) -> None:
    """Written past sys.stdout, whose lock a reader who does not read would make us keep for ever."""
    while True:
        try:
            for name, line in stack.fresh_lines():
                os.write(1, summary(name, line).encode())
        except OSError:  # nobody there any more: the stack does not need them
            return
        time.sleep(SHOW_EVERY_S)
