"""Our answers beside the references', on your own exports and images.

`python benchmarks/peers/parity.py --models DIR --images DIR`, in the environment of `make bench-peers`: every
*.onnx of DIR is run by ultralytics and by our processors, and with `--sliced` by sahi and by ours, over every
image and a table of settings. Each side reads the image file itself. A model says what it is (`task` in its
metadata), or its file's name does. It exits with 1 where a limit is not held.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
import onnxruntime as ort

sys.path.insert(0, str(Path(__file__).parents[2]))  # it is run by its path, from an environment of its own

from benchmarks.peers.matching import Answer, Difference, Setting, SliceSetting
from benchmarks.peers.ours import Ours
from benchmarks.peers.theirs import Theirs
from benchmarks.table import aligned
from shared.errors import InvalidModel, TenantVisionError
from shared.ml.output_layout import ModelType
from shared.vision.arrays import Pixels

SETTINGS: Final = {
    "0.25 / 0.7": Setting(),
    "0.01 / 0.3": Setting(confidence=0.01, iou=0.3),
    "agnostic 0.1 / 0.5": Setting(confidence=0.1, iou=0.5, class_agnostic=True),
    "10 at most": Setting(confidence=0.05, max_detections=10),
    "one class": Setting(confidence=0.1, classes=(0,)),
}
SLICED: Final = {
    "512 GREEDYNMM IOS": SliceSetting(),
    "512 NMM IOS": SliceSetting(kind="NMM"),
    "512 NMS IOU": SliceSetting(kind="NMS", metric="IOU"),
    "400x333 0.35 GREEDYNMM IOU 0.3": SliceSetting(slice_hw=(333, 400), overlap=0.35, metric="IOU", threshold=0.3),
    "700 0 NMM IOU 0.3, no full image": SliceSetting(
        slice_hw=(700, 700), overlap=0.0, kind="NMM", metric="IOU", threshold=0.3, full_image=False
    ),
    "256 0.5 GREEDYNMM agnostic": SliceSetting(slice_hw=(256, 256), overlap=0.5, class_agnostic=True),
}
# px, px, confidence, IoU, score: what docs/performance.md promises.
COORDINATE_P99, COORDINATE, CONFIDENCE, MASK_IOU, SCORE = 0.05, 1.0, 0.005, 0.995, 0.001
# In the image's px theirs are of a letterbox rounded to prototype cells, ours are not: see `image_masks`.
IMAGE_MASK_IOU: Final = 0.98
Asked = TypeVar("Asked", Setting, SliceSetting)
_HEAD: Final = (
    "model",
    "asked",
    "images",
    "theirs",
    "ours",
    "matched",
    "px p99",
    "px",
    "confidence",
    "mask IoU",
    "",
)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument(
        "--models", type=Path, required=True, metavar="DIR", help="with *.onnx in it, at any depth"
    )
    parser.add_argument("--images", type=Path, required=True, metavar="DIR")
    parser.add_argument("--sliced", action="store_true", help="detectors are compared with sahi too (slow)")
    asked = parser.parse_args(arguments)
    images = sorted(path for path in asked.images.rglob("*") if path.is_file())
    rows = [_HEAD]
    for path in sorted(asked.models.rglob("*.onnx")):
        for cells in compared(path, images, sliced=asked.sliced):
            rows.append((str(path.relative_to(asked.models)), *cells))
            print("  ".join(rows[-1]), file=sys.stderr, flush=True)
    print(aligned(rows))
    return 0 if all(cells[-1] in {"", "yes"} for cells in rows[1:]) else 1


def compared(path: Path, images: Sequence[Path], *, sliced: bool) -> Iterable[tuple[str, ...]]:
    """A row of cells for each setting, without the model's name."""
    said = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"]).get_modelmeta().custom_metadata_map
    model_type = model_type_of(path, said)
    try:
        ours = Ours(path, model_type)
    except InvalidModel as error:
        yield (f"refused: {error}", *[""] * (len(_HEAD) - 2))
        return
    theirs = Theirs(
        path,
        model_type,
        is_rtdetr="rtdetr" in said.get("head", "").lower(),
        canvas_hw=ours.model.export.canvas_hw,
    )
    if model_type == "classify":
        yield scores_row(images, theirs, ours)
        return
    find: Callable[[Pixels, Setting], Answer] = ours.detect if model_type == "detect" else ours.segment
    settings = SETTINGS if model_type == "detect" else SETTINGS | {"in image px": Setting(in_image=True)}
    for name, setting in settings.items():
        yield row(name, setting, images, theirs.find, lambda image, asked: find(ours.read(image), asked))
    for name, cut in SLICED.items() if sliced and model_type == "detect" else ():
        yield row(name, cut, images, theirs.sliced, lambda image, asked: ours.sliced(ours.read(image), asked))


def model_type_of(path: Path, said: dict[str, str]) -> ModelType:
    """By what the file says, or by its name."""
    words = said.get("task") or str(path)
    for model_type, word in (("segment", "seg"), ("classify", "cl")):
        if word in words:
            return model_type
    return "detect"


def row(
    name: str,
    asked: Asked,
    images: Sequence[Path],
    theirs: Callable[[Path, Asked], Answer],
    ours: Callable[[Path, Asked], Answer],
) -> tuple[str, ...]:
    """The cells of one setting over all images that both can read."""
    total, read = Difference(), 0
    for image in images:
        try:
            one = theirs(image, asked)
        except Exception as error:  # noqa: BLE001 - theirs may raise anything
            print(f"  {image.name}: not read by them ({type(error).__name__})", file=sys.stderr)
            continue
        try:
            other = ours(image, asked)
        except TenantVisionError as error:
            print(f"  {image.name}: not read by us: {error}", file=sys.stderr)
            continue
        total.add(one, other)
        read += 1
    p99 = float(np.percentile(total.coordinates, 99)) if total.coordinates else 0.0
    most, confidence = max(total.coordinates, default=0.0), max(total.confidences, default=0.0)
    least = min(total.mask_ious, default=1.0)
    holds = (
        total.theirs == total.ours == total.matched
        and (p99 <= COORDINATE_P99 and most <= COORDINATE)
        and confidence <= CONFIDENCE
        and least >= (IMAGE_MASK_IOU if getattr(asked, "in_image", False) else MASK_IOU)
    )
    cells = (name, read, total.theirs, total.ours, total.matched)
    figures = f"{p99:.4f}", f"{most:.4f}", f"{confidence:.1e}", f"{least:.4f}" if total.mask_ious else ""
    return (*map(str, cells), *figures, "yes" if holds else "NO")


def scores_row(images: Sequence[Path], theirs: Theirs, ours: Ours) -> tuple[str, ...]:
    apart = []
    for image in images:
        try:
            one = theirs.classify(image)
        except Exception as error:  # noqa: BLE001 - theirs may raise anything
            print(f"  {image.name}: not read by them ({type(error).__name__})", file=sys.stderr)
            continue
        apart.append(float(np.abs(one - ours.classify(ours.read(image))).max()))
    most = max(apart, default=0.0)
    return "scores", str(len(apart)), "", "", "", "", "", f"{most:.1e}", "", "yes" if most <= SCORE else "NO"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
