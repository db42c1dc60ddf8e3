"""The command `python -m local predict`: runs a tenant's models on local image files with the deployed pipeline.

It uses no emulator and no network, and uploads nothing, so a tenant can try a model before uploading it.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.folder_store import FolderStore
from local.text_table import format_table
from shared import events
from shared.config import Config
from shared.errors import (
    ConfigError,
    ImageNotFound,
    ImageTooLarge,
    InvalidEvent,
    InvalidImage,
    ModelNotFound,
    StorageUnavailable,
    TenantVisionError,
    UnsupportedImage,
)
from shared.events import Event, ImageMessage, Request
from shared.ml.model_cache import ModelCache
from shared.pipeline.runner import PipelineRunner
from shared.runtime.event_record import event_record
from shared.vision.images import codec

BUCKET = "local"
# Settings that the function requires and this command does not use.
LOCAL_SETTINGS = {
    "GCS_BUCKET": BUCKET,
    "UPLOAD_BUCKET": "",
    "RESULTS_BUCKET": "",
    "ERROR_TOPIC": "nowhere",
    "GOOGLE_CLOUD_PROJECT": "",
}
# Errors of a single image. All other errors concern every image, and end the run.
IMAGE_ERRORS = (ImageNotFound, ImageTooLarge, InvalidImage, StorageUnavailable, UnsupportedImage)
INTERRUPTED_STATUS = 130


class UsageError(ValueError):
    """The arguments are invalid, so nothing was run; the message is for the caller of the command."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """The result of one image in brief, or the error."""

    image: Path
    summary: str = ""
    took_ms: float = 0.0  # without loading the model, for which only the first image waits
    error: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    add = parser.add_argument
    add("images", type=Path, nargs="+", metavar="IMAGE", help="image file")
    add(
        "--models",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder with the models, laid out as models/ in the bucket: DIR/TENANT/detect.onnx",
    )
    add("--tenant", required=True, metavar="TENANT", help="tenant id, the subfolder of --models to use")
    add("--pipeline", metavar="NAME", help="pipeline to run (default: the setting DEFAULT_PIPELINE, or detect)")
    add(
        "--options",
        metavar="JSON",
        help='options of the pipeline, as in a message: \'{"confidence_threshold": 0.4, "resampling": "fast"}\'',
    )
    add(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder for the results: DIR/IMAGE/result.json and DIR/IMAGE/annotated.jpg",
    )
    parser.epilog = (
        "Settings such as CONFIDENCE_THRESHOLD and ORT_THREADS are read from the environment, as in the cloud. "
        "The exit status is 0 if every image has a result, 1 otherwise, and 130 if interrupted."
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the command, and return its exit status: 0 if every image has a result, 130 if interrupted, else 1."""
    predictions: list[Prediction] = []
    status = 0
    try:
        config = Config.from_environment(os.environ | LOCAL_SETTINGS)
        images = index_by_name(arguments.images, out=arguments.out)
        requests = build_requests(
            images,
            tenant_id=arguments.tenant,
            pipeline=arguments.pipeline,
            options=arguments.options,
            config=config,
        )
        store = FolderStore(
            {request.image.name: path for path, request in requests.items()}
            | {"models/": arguments.models, f"results/{arguments.tenant}/": arguments.out}
        )
        codec.ignore_pillow_warnings()
        ModelCache.configure(store, bucket=BUCKET, threads=config.ort_threads, refresh_s=config.model_refresh_s)
        pipeline = PipelineRunner(store, config)
        for path in show_progress(requests):
            prediction = _predict(path, requests[path], pipeline)
            predictions.append(prediction)
    except ModelNotFound as error:
        model = arguments.models / error.tenant_id / f"{error.model_type}.onnx"
        return _print_error(f"{error}: there is no file {model}")
    except (UsageError, ConfigError, TenantVisionError) as error:
        return _print_error(str(error))
    except KeyboardInterrupt:
        status = INTERRUPTED_STATUS
    failed = [prediction for prediction in predictions if prediction.error]
    for prediction in failed:
        _print_error(f"{prediction.image}: {prediction.error}")
    print(table(predictions))
    print(f"{len(predictions) - len(failed)} of {len(requests)} images done, in {arguments.out}")
    return status or (1 if failed else 0)


def index_by_name(images: Sequence[Path], *, out: Path) -> dict[str, Path]:
    """Return the images by file name, which names the folder of their results; duplicates are dropped.

    Raises:
        UsageError: two images have the same name, or a file is in the way of a result.
    """
    by_name: dict[str, Path] = {}
    for path in images:
        other = by_name.setdefault(path.name, path)
        if other.resolve() != path.resolve():
            raise UsageError(
                f"{other} and {path} have the same name, so their results would have the same folder: "
                "run them one at a time, with different --out"
            )
        if (out / path.name).is_file():
            raise UsageError(
                f"{out / path.name} is a file, expected a folder for results: choose another --out than the "
                "folder of the images"
            )
    return by_name


def build_requests(
    images: Mapping[str, Path], *, tenant_id: str, pipeline: str | None, options: str | None, config: Config
) -> dict[Path, Request]:
    """Return the requests by image path, parsed and checked as messages are.

    Args:
        images: image paths by file name.
        tenant_id: the tenant.
        pipeline: name of the pipeline; the default one if None.
        options: options of the pipeline as a JSON object; none if None.
        config: settings.

    Raises:
        UsageError: a message with these fields would be rejected.
    """
    body = b""
    if options is not None:
        try:
            body = json.dumps({"options": events.parse_json(options.encode())}).encode()
        except (InvalidEvent, UnicodeEncodeError) as error:
            raise UsageError(f"--options={options[:200]!r} is invalid: expected a JSON object") from error
    requests = {}
    for name, path in images.items():
        attributes = {"tenant_id": tenant_id, "image": f"uploads/{tenant_id}/{name}"}
        if pipeline is not None:
            attributes["pipeline"] = pipeline
        try:
            requests[path] = events.parse(Event(ImageMessage(attributes, body)), config)
        except InvalidEvent as error:
            raise UsageError(f"{path} of tenant '{tenant_id}': {error}") from error
    return requests


def table(predictions: Sequence[Prediction]) -> str:
    """Format one row for each image: name, what was found, milliseconds."""
    return format_table([("image", "found", "ms"), *map(_table_row, predictions)], "<<>")


def describe_result(document: Mapping[str, Any]) -> str:
    """Describe a result document briefly: the count of each label, and the likeliest class of the image."""
    parts = [f"{count} {label}" for label, count in document["counts"].items()]
    parts += [f"{each['label']} {each['confidence']:.0%}" for each in document.get("classification", [])[:1]]
    return ", ".join(parts) or "nothing"


def show_progress(images: Iterable[Path]) -> Iterable[Path]:
    """Return an iterable of the images that shows a progress bar, if stderr is a terminal."""
    if not sys.stderr.isatty():
        return images
    from tqdm import tqdm  # noqa: PLC0415 - the import takes 60 ms

    bar: Iterable[Path] = tqdm(list(images), unit=" images", leave=False)
    return bar


def _predict(path: Path, request: Request, pipeline: PipelineRunner) -> Prediction:
    with event_record() as record:
        try:
            outcome = pipeline.run(request)
        except ImageNotFound:
            return Prediction(path, error="there is no such file")
        except IMAGE_ERRORS as error:
            return Prediction(path, error=str(error))
        timings = record.timings_ms
    return Prediction(
        path, describe_result(json.loads(outcome.document or b"{}")), timings["total"] - timings.get("model", 0.0)
    )


def _table_row(prediction: Prediction) -> tuple[str, str, str]:
    if prediction.error:
        return prediction.image.name, "failed", "-"
    return prediction.image.name, prediction.summary, f"{prediction.took_ms:.0f}"


def _print_error(message: str) -> int:
    print(f"local predict: {message}", file=sys.stderr)
    return 1
