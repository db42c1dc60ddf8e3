"""Check that the memory of one warm process stays flat over 200 images of five sizes.

Detection and segmentation alternate in a new process, with the deployed pipeline, and results are written to a
folder.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Final

import psutil

from benchmarks.network import detect_model, segment_model
from benchmarks.photos import FULL_HD, HD, TWELVE_MP, photo
from benchmarks.table import Figure, Table
from local.folder_store import FolderStore
from shared import events
from shared.config import Config
from shared.events import Event, ImageMessage
from shared.ml.model_cache import ModelCache
from shared.pipeline.runner import PipelineRunner

ROOT: Final = Path(__file__).resolve().parent.parent
IMAGES: Final = 200
SIZES: Final = (HD, FULL_HD, (720, 1280), (640, 640), TWELVE_MP)
PIPELINES: Final = ("detect", "segment")
LIMIT: Final = 1.05
TENANT: Final = "tenant-001"
_WARM_UP_IMAGES: Final = len(SIZES) * len(PIPELINES)  # until then each size has passed each pipeline
_SHOWN_COUNTS: Final = (1, 10, 50, 100, 200)
_MB: Final = 1e6


def run(images: int = IMAGES) -> Table:
    with tempfile.TemporaryDirectory(prefix="tenant-vision-") as name:
        folder = Path(name)
        (folder / "models" / TENANT).mkdir(parents=True)
        (folder / "models" / TENANT / "detect.onnx").write_bytes(detect_model()[0])
        (folder / "models" / TENANT / "segment.onnx").write_bytes(segment_model()[0])
        (folder / "uploads").mkdir()
        for index, size_wh in enumerate(SIZES):
            (folder / "uploads" / f"{index}.jpg").write_bytes(photo(size_wh))
        command = [sys.executable, "-m", "benchmarks.steady", name, str(images)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    resident: list[int] = json.loads(done.stdout)
    warm = resident[min(_WARM_UP_IMAGES, images) - 1]
    rows = [(str(after), f"{resident[after - 1] / _MB:.0f} MB") for after in _SHOWN_COUNTS if after <= images]
    return Table(
        f"{images} images of {len(SIZES)} sizes through one warm process, detect and segment in turn",
        [
            Figure("resident after the last / after the tenth", resident[-1] / warm, limit=LIMIT),
            Figure(
                "the most after the tenth / after the tenth",
                max(resident[_WARM_UP_IMAGES - 1 :]) / warm,
                limit=LIMIT,
            ),
        ],
        [("images", "resident"), *rows],
    )


def measure(folder: Path, images: int) -> list[int]:
    """Return the bytes resident after each image."""
    store = FolderStore(
        {
            "models/": folder / "models",
            f"uploads/{TENANT}/": folder / "uploads",
            f"results/{TENANT}/": folder / "results",
        }
    )
    config = Config(gcs_bucket="local", upload_bucket="local", results_bucket="local", error_topic="errors")
    ModelCache.configure(store, bucket="local", refresh_s=86_400.0)
    pipeline = PipelineRunner(store, config)
    process, resident = psutil.Process(), []
    for index in range(images):
        upload = f"uploads/{TENANT}/{index % len(SIZES)}.jpg"
        attributes = {"tenant_id": TENANT, "image": upload, "pipeline": PIPELINES[index // len(SIZES) % 2]}
        request = events.parse(Event(ImageMessage(attributes)), config)
        pipeline.run(replace(request, request_id=str(index)))
        resident.append(process.memory_info().rss)
    return resident


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]), int(sys.argv[2]))) if len(sys.argv) > 1 else run())
