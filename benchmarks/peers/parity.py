"""Compare predictions with those of ultralytics and sahi on your own exports and images.

Run `python benchmarks/peers/parity.py --models DIR --images DIR` in the environment of `make bench-peers`. Every
*.onnx of DIR is run by ultralytics and by this project, and with `--sliced` by sahi too, on every image with a
table of settings. Each side reads the image file itself. The model type is the `task` in the file's metadata, or
is guessed from its name. The exit code is 1 if a limit is exceeded.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
import onnxruntime as ort

sys.path.insert(0, str(Path(__file__).parents[2]))  # the script is run by its path

from benchmarks.peers.matching import Difference, Predictions, Setting, SliceSetting
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
# The limits that docs/performance.md promises.
MAX_COORDINATE_P99_PX, MAX_COORDINATE_PX, MAX_CONFIDENCE_DIFFERENCE, MIN_MASK_IOU, MAX_SCORE_DIFFERENCE = (
    0.05,
    1.0,
    0.005,
    0.995,
    0.001,
)
# At the image's resolution ultralytics rounds the letterbox to prototype cells: see `image_masks`.
MIN_IMAGE_MASK_IOU: Final = 0.98
AnySetting = TypeVar("AnySetting", Setting, SliceSetting)
_HEAD: Final = (
    "model",
    "setting",
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
        "--models", type=Path, required=True, metavar="DIR", help="folder with *.onnx at any depth"
    )
    parser.add_argument("--images", type=Path, required=True, metavar="DIR")
    parser.add_argument("--sliced", action="store_true", help="compare detectors with sahi too (slow)")
    options = parser.parse_args(arguments)
    images = sorted(path for path in options.images.rglob("*") if path.is_file())
    rows: list[tuple[str, ...]] = [_HEAD]
    for path in sorted(options.models.rglob("*.onnx")):
        for cells in compared(path, images, sliced=options.sliced):
            rows.append((str(path.relative_to(options.models)), *cells))
            print("  ".join(rows[-1]), file=sys.stderr, flush=True)
    print(aligned(rows))
    return 0 if all(cells[-1] in {"", "yes"} for cells in rows[1:]) else 1


def compared(path: Path, images: Sequence[Path], *, sliced: bool) -> Iterable[tuple[str, ...]]:
    """Yield the cells of one row for each setting, without the model's name."""
    metadata = (
        ort.InferenceSession(str(path), providers=["CPUExecutionProvider"]).get_modelmeta().custom_metadata_map
    )
    model_type = model_type_of(path, metadata)
    try:
        ours = Ours(path, model_type)
    except InvalidModel as error:
        yield (f"invalid: {error}", *[""] * (len(_HEAD) - 2))
        return
    theirs = Theirs(
        path,
        model_type,
        is_rtdetr="rtdetr" in metadata.get("head", "").lower(),
        canvas_hw=ours.model.export.canvas_hw,
    )
    if model_type == "classify":
        yield scores_row(images, theirs, ours)
        return
    predict: Callable[[Pixels, Setting], Predictions] = ours.detect if model_type == "detect" else ours.segment
    settings = SETTINGS if model_type == "detect" else SETTINGS | {"in image px": Setting(in_image=True)}
    for name, setting in settings.items():
        yield row(name, setting, images, theirs.predict, lambda image, setting: predict(ours.read(image), setting))
    for name, cut in SLICED.items() if sliced and model_type == "detect" else ():
        yield row(name, cut, images, theirs.sliced, lambda image, setting: ours.sliced(ours.read(image), setting))


def model_type_of(path: Path, metadata: dict[str, str]) -> ModelType:
    """Return the model type by the file's metadata, or by its name."""
    task = metadata.get("task") or str(path)
    if "seg" in task:
        return "segment"
    return "classify" if "cl" in task else "detect"


def row(
    name: str,
    setting: AnySetting,
    images: Sequence[Path],
    theirs: Callable[[Path, AnySetting], Predictions],
    ours: Callable[[Path, AnySetting], Predictions],
) -> tuple[str, ...]:
    """Return the cells of one setting over all images that both sides can read."""
    total, read = Difference(), 0
    for image in images:
        try:
            one = theirs(image, setting)
        except Exception as error:  # noqa: BLE001 - ultralytics may raise anything
            print(f"  {image.name}: not read by the reference ({type(error).__name__})", file=sys.stderr)
            continue
        try:
            other = ours(image, setting)
        except TenantVisionError as error:
            print(f"  {image.name}: not read by this project: {error}", file=sys.stderr)
            continue
        total.add(one, other)
        read += 1
    p99 = float(np.percentile(total.coordinates, 99)) if total.coordinates else 0.0
    maximum, confidence = max(total.coordinates, default=0.0), max(total.confidences, default=0.0)
    min_mask_iou = min(total.mask_ious, default=1.0)
    holds = (
        total.theirs == total.ours == total.matched
        and (p99 <= MAX_COORDINATE_P99_PX and maximum <= MAX_COORDINATE_PX)
        and confidence <= MAX_CONFIDENCE_DIFFERENCE
        and min_mask_iou >= (MIN_IMAGE_MASK_IOU if getattr(setting, "in_image", False) else MIN_MASK_IOU)
    )
    return (
        name,
        str(read),
        str(total.theirs),
        str(total.ours),
        str(total.matched),
        f"{p99:.4f}",
        f"{maximum:.4f}",
        f"{confidence:.1e}",
        f"{min_mask_iou:.4f}" if total.mask_ious else "",
        "yes" if holds else "NO",
    )


def scores_row(images: Sequence[Path], theirs: Theirs, ours: Ours) -> tuple[str, ...]:
    differences = []
    for image in images:
        try:
            one = theirs.classify(image)
        except Exception as error:  # noqa: BLE001 - ultralytics may raise anything
            print(f"  {image.name}: not read by the reference ({type(error).__name__})", file=sys.stderr)
            continue
        differences.append(float(np.abs(one - ours.classify(ours.read(image))).max()))
    maximum = max(differences, default=0.0)
    return (
        "scores",
        str(len(differences)),
        "",
        "",
        "",
        "",
        "",
        f"{maximum:.1e}",
        "",
        "yes" if maximum <= MAX_SCORE_DIFFERENCE else "NO",
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
