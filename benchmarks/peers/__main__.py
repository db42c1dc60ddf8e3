"""The rows side by side: `python -m benchmarks.peers --python .venv-peers/bin/python` (`make bench-peers`).

A process each for bare runs, for us and for each peer, asked in turn, one at a time: no pool of threads disturbs
another's, and all have ONNX Runtime's threads as many as there are CPUs. Figures are ratios to bare runs.
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
from typing import Final

from benchmarks.environment import environment
from benchmarks.machine import machine
from benchmarks.network import classify_model, detect_model, segment_model
from benchmarks.page import keep
from benchmarks.peers.rows import ROWS, Row
from benchmarks.photos import FULL_HD, HD, TWELVE_MP, image_hw, photo
from benchmarks.predict import ROOT, peak
from benchmarks.table import Figure, Table

PEERS: Final = {
    "ultralytics": "ultralytics",
    "ultralytics, from bytes": "pillow",
    "sahi": "sahi",
    "supervision": "supervision",
}
FRESH_ROUNDS: Final = 4
_VERSIONS: Final = "ultralytics", "sahi", "supervision", "torch", "onnxruntime", "opencv-python"

Taken = dict[str, dict[str, list[float]]]  # milliseconds, by row and contender


class Contender:
    """A process that does the rows it knows when it is asked to."""

    def __init__(self, python: str, module: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [python, "-m", module, *arguments],
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.rows: list[str] = self._answer()

    def take(self, row: Row) -> list[float]:
        assert self._process.stdin is not None  # noqa: S101 - it was asked for
        print(json.dumps({"row": row.name, "calls": row.calls}), file=self._process.stdin, flush=True)
        return self._answer()

    def close(self) -> None:
        self._process.communicate()

    def _answer(self) -> list:
        assert self._process.stdout is not None  # noqa: S101 - it was asked for
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"benchmarks.peers: {' '.join(map(str, self._process.args))} ended")
        return json.loads(line)


def prepare(folder: Path) -> None:
    """A folder for each size: the models, and the photo."""
    for name, size_wh, objects in (("hd", HD, 20), ("full-hd", FULL_HD, 34), ("twelve-mp", TWELVE_MP, 60)):
        place = folder / name
        place.mkdir(parents=True)
        size = {"objects": objects, "image_hw": image_hw(size_wh)}
        (place / "detect.onnx").write_bytes(detect_model(**size)[0])
        (place / "segment.onnx").write_bytes(segment_model(**size)[0])
        (place / "classify.onnx").write_bytes(classify_model()[0])
        (place / "photo.jpg").write_bytes(photo(size_wh))
    place = folder / "sliced"
    place.mkdir()
    (place / "detect.onnx").write_bytes(detect_model(objects=10)[0])
    (place / "segment.onnx").write_bytes(segment_model(objects=10)[0])
    (place / "photo.jpg").write_bytes(photo(TWELVE_MP))


def measured(contenders: dict[str, Contender], rounds: int, like: str) -> Taken:
    taken: Taken = {row.name: {name: [] for name in contenders} for row in ROWS}
    for row in ROWS:
        if like not in row.name:
            continue
        for _ in range(min(row.rounds, rounds)):
            for name, contender in contenders.items():
                if row.name in contender.rows:
                    taken[row.name][name] += contender.take(row)
        print(
            f"{row.name}: " + ", ".join(f"{name} {cell}" for name, cell in cells(taken, row).items()), flush=True
        )
    return taken


def cells(taken: Taken, row: Row) -> dict[str, str]:
    """Each contender's ratio by medians, and by minimums in brackets."""
    found = {}
    for name, ms in taken[row.name].items():
        base = taken[row.over][name] if row.over else taken[row.name]["bare"]
        if ms and base and name != "bare":
            found[name] = f"{median(ms) / median(base):.2f} ({min(ms) / min(base):.2f})"
    return found


def fresh(folder: Path, python: str, rounds: int) -> dict[str, list[dict[str, float]]]:
    """Seconds and bytes of fresh processes that look at one 720p image."""
    model, image = str(folder / "hd" / "detect.onnx"), str(folder / "hd" / "photo.jpg")
    out = str(folder / "out")
    ours = ["-m", "local", "predict", image, "--models", str(folder), "--tenant", "hd", "--out", out]
    taken: dict[str, list[dict[str, float]]] = {"bare": [], "ours": [], "ultralytics": []}
    for index in range(-1, rounds):
        for name, found in (
            ("bare", peak([str(ROOT / "benchmarks" / "bare_script.py"), model, image])),
            ("ours", peak(ours)),
            ("ultralytics", peak([str(ROOT / "benchmarks" / "peers" / "fresh.py"), model, image], python)),
        ):
            if index >= 0:
                taken[name].append(found)
    return taken


def table(taken: Taken, started: dict[str, list[dict[str, float]]]) -> Table:
    names = ("ours", *PEERS)
    figures, details = [], [("over bare runs: medians (minimums)", "bare run", *names)]
    for row in ROWS:
        found = cells(taken, row)
        if not found:
            continue
        bare = taken[row.name].get("bare", [])
        base = f"{median(bare) / row.passes:.0f} ms" if bare else ""
        details.append((row.name, base, *(found.get(name, "") for name in names)))
        peers = [median(ms) for name, ms in taken[row.name].items() if name in PEERS and ms]
        if peers:
            mine = median(taken[row.name]["ours"])
            figures.append(Figure(f"{row.name}: ours / the fastest peer", mine / min(peers), limit=1.0))
    for what, unit in (("wall_s", "wall"), ("peak_bytes", "peak memory")):
        of = {name: median(each[what] for each in peaks) for name, peaks in started.items()}
        base = f"{of['bare'] * 1000:.0f} ms" if what == "wall_s" else f"{of['bare'] / 1e6:.0f} MB"
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
    of_machine = f"{machine()}\npeers: {versions(python)}"
    print(of_machine, flush=True)
    with tempfile.TemporaryDirectory(prefix="tenant-vision-") as name:
        folder = Path(name)
        prepare(folder)
        # Its settings are no business of this machine's, and it is not to look for anything on the network.
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
            taken = measured(contenders, rounds, like)
        finally:
            for contender in contenders.values():
                contender.close()
        compared = table(taken, fresh(folder, python, min(rounds, FRESH_ROUNDS)))
    if not like:
        keep("peers", compared, of_machine)
    print(f"\n{compared}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers")
    parser.add_argument("--python", required=True, help="of an environment with what requirements.txt here says")
    parser.add_argument("--rounds", type=int, default=100, help="at most; fewer for a quick look")
    parser.add_argument(
        "--rows", default="", help="only those whose names have this in them; nothing is kept then"
    )
    chosen = parser.parse_args()
    main(chosen.python, chosen.rounds, chosen.rows)
