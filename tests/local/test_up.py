"""The command `local up` as a child process: its env file, signals, and what remains afterwards."""

import contextlib
import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from local import up
from local.bridge import Bridge
from local.port import Port
from local.process_group_reaper import ProcessGroupReaper

ROOT = Path(__file__).resolve().parents[2]
EXPECTED_VARIABLES = [
    "STORAGE_EMULATOR_HOST",
    "PUBSUB_EMULATOR_HOST",
    "GOOGLE_CLOUD_PROJECT",
    "GCS_BUCKET",
    "UPLOAD_BUCKET",
    "RESULTS_BUCKET",
    "IMAGE_TOPIC",
    "ERROR_TOPIC",
    "ERROR_SUBSCRIPTION",
    "DEAD_LETTER_SUBSCRIPTION",
    "UPLOAD_URL",
    "MESSAGE_URL",
    "REQUEST_URL",
]


Running = tuple[subprocess.Popen[str], dict[str, str], list[psutil.Process]]


def start(source: Path, env_file: Path, **settings: str) -> subprocess.Popen[str]:
    without = {key: value for key, value in os.environ.items() if not key.endswith("EMULATOR_HOST")}
    command = [sys.executable, "-m", "local", "up", "--source", str(source), "--env-file", str(env_file)]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=without | {"TMPDIR": str(env_file.parent)} | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for(env_file: Path, process: subprocess.Popen[str], timeout_s: float = 20) -> dict[str, str]:
    deadline = time.monotonic() + timeout_s
    while not env_file.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return dict(line.split("=", 1) for line in env_file.read_text(encoding="utf-8").splitlines())


@contextlib.contextmanager
def running(source: Path, env_file: Path, **settings: str) -> Iterator[Running]:
    """Yield the process once its env file is there, the variables in it, and all child processes."""
    with start(source, env_file, **settings) as process:
        try:
            variables = wait_for(env_file, process)
            yield process, variables, psutil.Process(process.pid).children(recursive=True)
        finally:
            process.kill()


def ended(processes: Iterable[psutil.Process], timeout_s: float = 3.0) -> bool:
    """Wait until the processes have ended; zombies, which only their new parent can reap, count as ended."""
    deadline = time.monotonic() + timeout_s
    while any(is_alive(process) for process in processes) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not any(is_alive(process) for process in processes)


def is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@pytest.mark.stack
def test_up_stops_on_sigint_and_leaves_nothing(source: Path, tmp_path: Path) -> None:
    env_file = tmp_path / "local.env"
    with running(source, env_file) as (process, variables, children):
        assert sorted(variables) == sorted(EXPECTED_VARIABLES)
        assert variables["STORAGE_EMULATOR_HOST"].startswith("http://127.0.0.1:")
        assert len(children) >= 5  # storage, three functions, the reaper
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=10)
    assert process.returncode == 0
    assert errors == ""
    assert "Up in" in output
    assert ended(children)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.stack
def test_up_stops_despite_many_signals_and_a_full_pipe(source: Path, tmp_path: Path) -> None:
    with running(source, tmp_path / "local.env") as (process, variables, children):
        post(variables["REQUEST_URL"], b"x" * 200_000)  # logged, and shown: more than a pipe holds
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)
            time.sleep(0.05)
        assert process.wait(timeout=10) == 0
    assert ended(children)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.stack
def test_killed_up_leaves_no_children_and_no_files(source: Path, tmp_path: Path) -> None:
    env_file = tmp_path / "local.env"
    with running(source, env_file) as (process, _, children):
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=10)
        assert ended(children)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.stack
def test_up_stopped_during_start_leaves_nothing(source: Path, tmp_path: Path) -> None:
    env_file = tmp_path / "local.env"
    with start(source, env_file) as process:
        myself = psutil.Process(process.pid)
        while len(children := myself.children(recursive=True)) < 3:
            assert process.poll() is None
        process.send_signal(signal.SIGHUP)
        process.communicate(timeout=10)
    assert process.returncode == 0
    assert ended(children)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.stack
def test_up_reports_why_source_cannot_be_loaded(tmp_path: Path) -> None:
    source = tmp_path / "main.py"
    source.write_text("import a_module_that_is_not_there\n", encoding="utf-8")
    env_file = tmp_path / "local.env"
    env_file.write_text("stale\n", encoding="utf-8")
    with start(source, env_file) as process:
        _, errors = process.communicate(timeout=15)
    assert process.returncode == 1
    assert "No module named 'a_module_that_is_not_there'" in errors
    assert not env_file.exists()


def post(url: str, body: bytes) -> None:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=5)
    connection.request("POST", "/", body=body)
    connection.getresponse().read()
    connection.close()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"severity": "INFO", "message": "done"}', "process_upload   INFO     done\n"),
        ("Traceback", "process_upload   Traceback\n"),
        ('{"severity": "INFO"}', 'process_upload   {"severity": "INFO"}\n'),
        ("[1]", "process_upload   [1]\n"),
    ],
)
def test_log_line_is_formatted_for_the_terminal(line: str, expected: str) -> None:
    assert up.format_log_line("process_upload", line) == expected


def test_env_file_is_replaced_atomically(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "local.env"
    up.write_env_file(path, {"A": "1"})
    up.write_env_file(path, {"B": "x=y"})
    assert path.read_text(encoding="utf-8") == "B=x=y\n"
    assert list(path.parent.iterdir()) == [path]


def test_reaper_kills_its_group_and_removes_its_files(tmp_path: Path) -> None:
    reaper = ProcessGroupReaper()
    sleeper = [sys.executable, "-c", "import time; time.sleep(60)"]
    grouped, ungrouped = (subprocess.Popen(sleeper, process_group=group) for group in (reaper.group_id, 0))
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    for name in ("folder", "file", "absent"):
        reaper.remove_on_exit(tmp_path / name)
    reaper.close()
    assert grouped.wait(timeout=5) == -signal.SIGKILL
    assert ungrouped.poll() is None
    assert list(tmp_path.iterdir()) == []
    ungrouped.kill()
    ungrouped.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux reserves a bound port")
def test_reserved_port_is_not_assigned_to_another_socket() -> None:
    port = Port()
    bridge = Bridge({}, timeout_s=1)
    assert bridge.url("") != f"http://127.0.0.1:{port.number}"
    bridge.stop()
    port.release()
