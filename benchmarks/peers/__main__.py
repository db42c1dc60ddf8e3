"""Compare all peers: `python -m benchmarks.peers --python .venv-peers/bin/python` (`make bench-peers`).

Bare runs, this project and each peer have a process each. Only one of them works at a time, so their thread pools
do not compete. ONNX Runtime has as many threads as there are CPUs. Figures are ratios to bare runs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks.environment import environment
from benchmarks.hardware import describe_hardware
from benchmarks.network import classify_model, detect_model, segment_model
from benchmarks.peers.rows import ROWS, Row
from benchmarks.performance_page import save_table
from benchmarks.photos import FULL_HD, HD, TWELVE_MP, image_hw, photo
from benchmarks.predict import ROOT, measure_process
from benchmarks.table import Figure, Table

PEERS: Final = {
    "ultralytics": "ultralytics",
    "ultralytics, from bytes": "pillow",
    "sahi": "sahi",
    "supervision": "supervision",
}
FRESH_ROUNDS: Final = 4
_VERSIONS: Final = "ultralytics", "sahi", "supervision", "torch", "onnxruntime", "opencv-python"

Measurements = dict[str, dict[str, list[float]]]  # milliseconds, by row and contender


class Contender:
    """A process that runs the rows it knows on request."""

    def __init__(self, python: str, module: str, *arguments: str) -> None:
        self._module = module
        self._process = subprocess.Popen(
            [python, "-m", module, *arguments],
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.rows: list[str] = self._read_reply()

    def measure(self, row: Row) -> list[float]:
        assert self._process.stdin is not None  # noqa: S101 - the process was started with a pipe
        print(json.dumps({"row": row.name, "calls": row.calls}), file=self._process.stdin, flush=True)
        return self._read_reply()

    def close(self) -> None:
        self._process.communicate()

    def _read_reply(self) -> list[Any]:
        assert self._process.stdout is not None  # noqa: S101 - the process was started with a pipe
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"benchmarks.peers: {self._module} ended")
        reply: list[Any] = json.loads(line)
        return reply


def prepare(folder: Path) -> None:
    """Write the models and the photograph of each size to a folder of its own."""
    for name, size_wh, objects in (("hd", HD, 20), ("full-hd", FULL_HD, 34), ("twelve-mp", TWELVE_MP, 60)):
        target = folder / name
        target.mkdir(parents=True)
        shape_hw = image_hw(size_wh)
        (target / "detect.onnx").write_bytes(detect_model(objects=objects, image_hw=shape_hw)[0])
        (target / "segment.onnx").write_bytes(segment_model(objects=objects, image_hw=shape_hw)[0])
        (target / "classify.onnx").write_bytes(classify_model()[0])
        (target / "photo.jpg").write_bytes(photo(size_wh))
    target = folder / "sliced"
    target.mkdir()
    (target / "detect.onnx").write_bytes(detect_model(objects=10)[0])
    (target / "segment.onnx").write_bytes(segment_model(objects=10)[0])
    (target / "photo.jpg").write_bytes(photo(TWELVE_MP))


def measure_rows(contenders: dict[str, Contender], rounds: int, like: str) -> Measurements:
    taken: Measurements = {row.name: {name: [] for name in contenders} for row in ROWS}
    for row in ROWS:
        if like not in row.name:
            continue
        for _ in range(min(row.rounds, rounds)):
            for name, contender in contenders.items():
                if row.name in contender.rows:
                    taken[row.name][name] += contender.measure(row)
        print(
            f"{row.name}: " + ", ".join(f"{name} {cell}" for name, cell in cells(taken, row).items()), flush=True
        )
    return taken


def cells(taken: Measurements, row: Row) -> dict[str, str]:
    """Return each contender's ratio of medians, and of minimums in brackets."""
    ratios = {}
    for name, ms in taken[row.name].items():
        base = taken[row.over][name] if row.over else taken[row.name]["bare"]
        if ms and base and name != "bare":
            ratios[name] = f"{median(ms) / median(base):.2f} ({min(ms) / min(base):.2f})"
    return ratios


def measure_new_processes(folder: Path, python: str, rounds: int) -> dict[str, list[dict[str, float]]]:
    """Return the times and the peak memory of new processes that detect objects in one 720p image."""
    model, image = str(folder / "hd" / "detect.onnx"), str(folder / "hd" / "photo.jpg")
    out = str(folder / "out")
    ours = ["-m", "local", "predict", image, "--models", str(folder), "--tenant", "hd", "--out", out]
    taken: dict[str, list[dict[str, float]]] = {"bare": [], "ours": [], "ultralytics": []}
    for index in range(-1, rounds):
        for name, measurements in (
            ("bare", measure_process([str(ROOT / "benchmarks" / "bare_script.py"), model, image])),
            ("ours", measure_process(ours)),
            (
                "ultralytics",
                measure_process([str(ROOT / "benchmarks" / "peers" / "fresh.py"), model, image], python),
            ),
        ):
            if index >= 0:
                taken[name].append(measurements)
    return taken


def table(taken: Measurements, started: dict[str, list[dict[str, float]]]) -> Table:
    names = ("ours", *PEERS)
    figures, details = [], [("over bare runs: medians (minimums)", "bare run", *names)]
    for row in ROWS:
        ratios = cells(taken, row)
        if not ratios:
            continue
        bare = taken[row.name].get("bare", [])
        base = f"{median(bare) / row.passes:.0f} ms" if bare else ""
        details.append((row.name, base, *(ratios.get(name, "") for name in names)))
        peers = [median(ms) for name, ms in taken[row.name].items() if name in PEERS and ms]
        if peers:
            mine = median(taken[row.name]["ours"])
            figures.append(Figure(f"{row.name}: ours / the fastest peer", mine / min(peers), limit=1.0))
    for key, unit in (("wall_s", "wall"), ("peak_bytes", "peak memory")):
        of = {name: median(each[key] for each in peaks) for name, peaks in started.items()}
        base = f"{of['bare'] * 1000:.0f} ms" if key == "wall_s" else f"{of['bare'] / 1e6:.0f} MB"
        row_name = f"fresh process, one 720p image, {unit}, over a bare script"
        ratios = {name: f"{value / of['bare']:.2f}" for name, value in of.items()}
        details.append((row_name, base, *(ratios.get(name, "") for name in names)))
        figures.append(Figure(f"{row_name}: ours / ultralytics", of["ours"] / of["ultralytics"], limit=1.0))
    return Table("Side by side with ultralytics, sahi and supervision", figures, details)


def versions(python: str) -> str:
    names = ", ".join(map(repr, _VERSIONS))
    script = (
        f"from importlib.metadata import version\nprint(', '.join(f'{{n}} {{version(n)}}' for n in ({names})))"
    )
    return subprocess.run([python, "-c", script], capture_output=True, text=True, check=True).stdout.strip()


def main(python: str, rounds: int, like: str) -> None:
    hardware = f"{describe_hardware()}\npeers: {versions(python)}"
    print(hardware, flush=True)
    with tempfile.TemporaryDirectory(prefix="tenant-vision-") as name:
        folder = Path(name)
        prepare(folder)
        # Keep the settings of ultralytics out of the home folder, and its updates off the network.
        os.environ.update(
            YOLO_CONFIG_DIR=name, YOLO_OFFLINE="true", YOLO_AUTOINSTALL="false", YOLO_VERBOSE="false"
        )
        contenders = {
            "bare": Contender(sys.executable, "benchmarks.peers.bare", name),
            "ours": Contender(sys.executable, "benchmarks.peers.our_rows", name),
        }
        contenders |= {
            peer: Contender(python, "benchmarks.peers.their_rows", name, function)
            for peer, function in PEERS.items()
        }
        try:
            taken = measure_rows(contenders, rounds, like)
        finally:
            for contender in contenders.values():
                contender.close()
        compared = table(taken, measure_new_processes(folder, python, min(rounds, FRESH_ROUNDS)))
    if not like:
        save_table("peers", compared, hardware)
    print(f"\n{compared}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers")
    parser.add_argument(
        "--python", required=True, help="interpreter of an environment with benchmarks/peers/requirements.txt"
    )
    parser.add_argument("--rounds", type=int, default=100, help="maximum number of rounds")
    parser.add_argument(
        "--rows", default="", help="run only rows whose name contains this; the table is not saved then"
    )
    chosen = parser.parse_args()
    main(chosen.python, chosen.rounds, chosen.rows)
