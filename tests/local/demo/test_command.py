"""Run the demo on the real local stack, with fewer and smaller images."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from local.demo.command import DemoError, run_demo
from local.demo.plan import FULL_PLAN, Plan, SceneSpec, Step
from shared.vision.images import codec

pytestmark = [pytest.mark.slow, pytest.mark.stack]

SMALL_PLAN = Plan(
    scenes=(
        SceneSpec("tenant-001", "a bed & a path.jpg", 10, (640, 480), 42),
        SceneSpec("tenant-001", "beet.png", 16, (480, 640), 36),
        SceneSpec("tenant-001", "close up.jpg", 10, (960, 720), 100, close_up="dry"),
        SceneSpec("tenant-002", "house/tray.webp", 13, (640, 480), 42),
    ),
    late_scene=SceneSpec("tenant-003", "terrace.jpg", 11, (640, 480), 40),
    not_an_image=FULL_PLAN.not_an_image,
    refreshed_tenant="tenant-002",
    messages=(
        Step("message", "tenant-001", "beet.png", expected_verdict="duplicate"),
        Step("message", "tenant-001", "beet.png", options={"confidence_threshold": 0.6}),
        Step(
            "message",
            "tenant-001",
            "a bed & a path.jpg",
            pipeline="count_plants",
            model_types=("detect", "segment"),
        ),
        Step("message", "tenant-001", "close up.jpg", pipeline="classify", model_types=("classify",)),
        Step("message", "tenant-002", "house/tray.webp", request_id="r-1"),
        Step(
            "message",
            "tenant-002",
            "beet.png",
            image_owner="tenant-001",
            expected_verdict="rejected",
            expected_status=403,
            expected_error="tenant_mismatch",
        ),
    ),
)


def processes_of(session: int) -> list[psutil.Process]:
    """Return the living processes of a session, even if the process that opened it has ended."""
    processes = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                processes.append(process)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return processes


def test_demo_meets_all_expectations_and_saves_results_and_page(
    tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_demo(SMALL_PLAN, out=tmp_path, models=root / "samples" / "models", timeout_s=60) == []

    output = capsys.readouterr().out
    assert "400 model_not_found: Model 'detect' not found for tenant 'tenant-003'" in output
    assert "400 model_not_found: Model 'segment' not found for tenant 'tenant-003'" in output
    assert re.search(r"tenant-001 a bed & a path.jpg: bed 1 \d+/\d+, ", output)
    assert "415 unsupported_image: " in output
    assert "403 tenant_mismatch: " in output
    results = tmp_path / "results"
    saved = {path.parent.relative_to(results).as_posix() for path in results.rglob("result.json")}
    assert saved == {
        "upload/tenant-001/a bed & a path.jpg",
        "upload/tenant-001/beet.png",
        "upload/tenant-002/house/tray.webp",
        "upload/tenant-001/close up.jpg",
        "message/tenant-001/a bed & a path.jpg",
        "message/tenant-001/beet.png",
        "message/tenant-001/close up.jpg",
        "message/tenant-002/house/tray.webp",
        "message/tenant-003/terrace.jpg",
    }
    for folder in saved:
        document = json.loads((results / folder / "result.json").read_text())
        height, width = codec.decode((results / folder / "annotated.jpg").read_bytes(), max_pixels=10**6).shape[:2]
        assert (document["image"]["width"], document["image"]["height"]) == (width, height)
    before, after = (
        json.loads((results / channel / "tenant-002/house/tray.webp/result.json").read_text())
        for channel in ("upload", "message")
    )
    assert before["models"]["detect"]["generation"] < after["models"]["detect"]["generation"]
    assert (before["request_id"], after["request_id"]) == (None, "r-1")
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert len(re.findall(r"<dialog ", page)) == len(saved) - 1  # the uploaded close-up has none
    assert "Some expectations were not met" not in page


def test_demo_names_the_missing_model_and_starts_nothing(tmp_path: Path) -> None:
    with pytest.raises(DemoError, match=r"tenant-001/detect\.onnx"):
        run_demo(SMALL_PLAN, out=tmp_path / "out", models=tmp_path, timeout_s=60)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_signal_stops_all_processes_of_the_demo(tmp_path: Path, root: Path, signal_number: signal.Signals) -> None:
    command = [sys.executable, "-m", "local", "demo", "--out", str(tmp_path)]
    with subprocess.Popen(
        command, cwd=root, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert any(line.startswith("drawing scenes") for line in process.stdout)
        if signal_number == signal.SIGINT:
            os.killpg(process.pid, signal_number)  # a terminal sends Ctrl-C to the whole process group
        else:
            process.send_signal(signal_number)
        output = process.stdout.read()
        assert process.wait(20) == (-signal_number if signal_number == signal.SIGKILL else 130), output
    assert "Traceback" not in output
    deadline = time.monotonic() + 10
    while processes_of(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes_of(process.pid) == []
    assert not (tmp_path / "index.html").exists()
