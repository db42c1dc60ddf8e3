"""Serve the rows of one peer with the Python of .venv-peers: `-m benchmarks.peers.their_rows FOLDER PACKAGE`.

Each package is used by its documented calls, with the same thresholds.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
from PIL import Image
from ultralytics import YOLO

from benchmarks.peers.rows import ROWS, RUNS_PER_TASK, TASKS
from benchmarks.peers.worker import serve

Work = Callable[[], object]
Makers = dict[str, Callable[[], Work]]
PREDICT_OPTIONS = {"conf": 0.25, "iou": 0.7, "verbose": False, "device": "cpu"}
NAMES = [row.name for row in ROWS]


def model(folder: Path, task: str) -> YOLO:
    return YOLO(str(folder / f"{task}.onnx"), task=task)


def photo(folder: Path) -> str:
    return str(folder / "photo.jpg")


def ultralytics(folder: Path) -> Makers:
    hd, full_hd, twelve_mp = (folder / name for name in ("hd", "full-hd", "twelve-mp"))
    works: tuple[Callable[[], Work], ...] = (
        lambda: of_pixels(hd, "detect"),
        lambda: of_file(hd, "detect"),
        lambda: of_file(twelve_mp, "detect"),
        lambda: of_file(hd, "segment"),
        lambda: of_file(twelve_mp, "segment"),
        lambda: of_pixels(twelve_mp, "segment", retina_masks=True),
        lambda: plotted(full_hd),
    )
    made = dict(zip(NAMES, works, strict=False))
    made[NAMES[9]] = lambda: three(hd, in_turn=False)
    made[NAMES[10]] = lambda: three(hd, in_turn=True)
    return made


def pillow(folder: Path) -> Makers:
    """Return the rows of ultralytics on the bytes of a file, which Pillow must open for it."""
    return {
        NAMES[1]: lambda: of_bytes(folder / "hd", "detect"),
        NAMES[2]: lambda: of_bytes(folder / "twelve-mp", "detect"),
        NAMES[3]: lambda: of_bytes(folder / "hd", "segment"),
        NAMES[4]: lambda: of_bytes(folder / "twelve-mp", "segment"),
    }


def read_result(result: Any) -> object:
    """Read the boxes of a result, and its polygons if there are masks."""
    boxes = result.boxes.data.numpy()
    return (boxes, result.masks.xy) if result.masks is not None else boxes


def of_pixels(folder: Path, task: str, **options: object) -> Work:
    yolo, image = model(folder, task), cv2.imread(photo(folder))
    return lambda: read_result(yolo.predict(image, **PREDICT_OPTIONS, **options)[0])


def of_file(folder: Path, task: str) -> Work:
    yolo, path = model(folder, task), photo(folder)
    return lambda: read_result(yolo.predict(path, **PREDICT_OPTIONS)[0])


def of_bytes(folder: Path, task: str) -> Work:
    yolo, data = model(folder, task), Path(photo(folder)).read_bytes()
    return lambda: read_result(yolo.predict(Image.open(io.BytesIO(data)), **PREDICT_OPTIONS)[0])


def plotted(folder: Path) -> Work:
    result = model(folder, "segment").predict(photo(folder), **PREDICT_OPTIONS)[0]
    plot: Work = result.plot
    return plot


def three(folder: Path, *, in_turn: bool) -> Work:
    models, image = [model(folder, task) for task in TASKS], cv2.imread(photo(folder))

    def work() -> None:
        for index in range(RUNS_PER_TASK * len(TASKS)):
            models[index % len(TASKS) if in_turn else index // RUNS_PER_TASK].predict(image, **PREDICT_OPTIONS)

    return work


def sahi(folder: Path) -> Makers:
    from sahi import AutoDetectionModel  # noqa: PLC0415 - only one process needs it
    from sahi.predict import get_sliced_prediction  # noqa: PLC0415

    def sliced(task: str) -> Work:
        detector = AutoDetectionModel.from_pretrained(
            model_type="ultralytics",
            model_path=str(folder / "sliced" / f"{task}.onnx"),
            confidence_threshold=PREDICT_OPTIONS["conf"],
            device="cpu",
        )
        image = cv2.cvtColor(cv2.imread(photo(folder / "sliced")), cv2.COLOR_BGR2RGB)
        return lambda: get_sliced_prediction(
            image,
            detector,
            slice_height=512,
            slice_width=512,
            overlap_height_ratio=0.2,
            overlap_width_ratio=0.2,
            verbose=0,
        )

    return {NAMES[7]: lambda: sliced("detect"), NAMES[8]: lambda: sliced("segment")}


def supervision(folder: Path) -> Makers:
    """Return the rows of supervision, which makes no pass over the full image: 80 runs."""
    import supervision as sv  # noqa: PLC0415 - only one process needs it

    def sliced(task: str) -> Work:
        yolo, image = model(folder / "sliced", task), cv2.imread(photo(folder / "sliced"))
        slicer = sv.InferenceSlicer(
            callback=lambda tile: sv.Detections.from_ultralytics(yolo.predict(tile, **PREDICT_OPTIONS)[0]),
            slice_wh=(512, 512),
            overlap_wh=(102, 102),
            overlap_filter=sv.OverlapFilter.NON_MAX_MERGE,
        )
        return lambda: slicer(image)

    return {NAMES[7]: lambda: sliced("detect")}


if __name__ == "__main__":
    serve(globals()[sys.argv[2]](Path(sys.argv[1])))
