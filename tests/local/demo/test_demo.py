"""The demo through the real stack: with fewer and smaller pictures, and how it ends when it is made to."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import psutil
import pytest

from local.demo.command import DemoError, demo
from local.demo.plan import FULL, Ask, Picture, Plan
from shared.vision.images import codec

pytestmark = [pytest.mark.slow, pytest.mark.stack]

SMALL = Plan(
    pictures=(
        Picture("tenant-001", "a bed & a path.jpg", 10, (640, 480), 42),
        Picture("tenant-001", "beet.png", 16, (480, 640), 36),
        Picture("tenant-001", "close up.jpg", 10, (960, 720), 100, close_up="dry"),
        Picture("tenant-002", "house/tray.webp", 13, (640, 480), 42),
    ),
    late=Picture("tenant-003", "terrace.jpg", 11, (640, 480), 40),
    not_an_image=FULL.not_an_image,
    renewed="tenant-002",
    messages=(
        Ask("message", "tenant-001", "beet.png", verdict="duplicate"),
        Ask("message", "tenant-001", "beet.png", options={"confidence_threshold": 0.6}),
        Ask(
            "message",
            "tenant-001",
            "a bed & a path.jpg",
            pipeline="count_plants",
            models=("detect", "segment"),
        ),
        Ask("message", "tenant-001", "close up.jpg", pipeline="classify", models=("classify",)),
        Ask("message", "tenant-002", "house/tray.webp", request_id="r-1"),
        Ask(
            "message",
            "tenant-002",
            "beet.png",
            owner="tenant-001",
            verdict="rejected",
            status=403,
            error="tenant_mismatch",
        ),
    ),
)


def left_of(session):
    """The processes of a session, whatever became of the one that opened it."""
    left = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                left.append(process)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return left


def test_the_whole_story(tmp_path, root, capsys):
    assert demo(SMALL, out=tmp_path, models=root / "samples" / "models", timeout_s=60) == []

    told = capsys.readouterr().out
    assert "400 model_not_found: Model 'detect' not found for tenant 'tenant-003'" in told
    assert "400 model_not_found: Model 'segment' not found for tenant 'tenant-003'" in told
    assert re.search(r"tenant-001 a bed & a path.jpg: bed 1 \d+/\d+, ", told)
    assert "415 unsupported_image: " in told
    assert "403 tenant_mismatch: " in told
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
    for place in saved:
        document = json.loads((results / place / "result.json").read_text())
        height, width = codec.decode((results / place / "annotated.jpg").read_bytes(), max_pixels=10**6).shape[:2]
        assert (document["image"]["width"], document["image"]["height"]) == (width, height)
    before, after = (
        json.loads((results / way / "tenant-002/house/tray.webp/result.json").read_text())
        for way in ("upload", "message")
    )
    assert before["models"]["detect"]["generation"] < after["models"]["detect"]["generation"]
    assert (before["request_id"], after["request_id"]) == (None, "r-1")
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert len(re.findall(r"<dialog ", page)) == len(saved) - 1  # an upload was only there to be asked about
    assert "Not all of it happened" not in page


def test_without_a_model_it_says_which_and_begins_nothing(tmp_path):
    with pytest.raises(DemoError, match=r"tenant-001/detect\.onnx"):
        demo(SMALL, out=tmp_path / "out", models=tmp_path, timeout_s=60)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_interrupted_it_leaves_nothing_behind(tmp_path, root, number):
    command = [sys.executable, "-m", "local", "demo", "--out", str(tmp_path)]
    with subprocess.Popen(
        command, cwd=root, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert any(line.startswith("drawing scenes") for line in process.stdout)
        if number == signal.SIGINT:
            os.killpg(process.pid, number)  # as a terminal does: to all in the foreground
        else:
            process.send_signal(number)
        told = process.stdout.read()
        assert process.wait(20) == (-number if number == signal.SIGKILL else 130), told
    assert "Traceback" not in told
    deadline = time.monotonic() + 10
    while left_of(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left_of(process.pid) == []
    assert not (tmp_path / "index.html").exists()
