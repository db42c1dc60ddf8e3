"""`python -m local predict`: a tenant's models on images of this machine, by the very steps that are deployed.

No emulator and no network; nothing is uploaded. This is how a tenant tries a model before uploading it.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

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

BUCKET: Final = "local"
# Required in the cloud, and nothing here.
_NOT_THE_CLOUD: Final = {
    "GCS_BUCKET": BUCKET,
    "UPLOAD_BUCKET": "",
    "RESULTS_BUCKET": "",
    "ERROR_TOPIC": "nowhere",
    "GOOGLE_CLOUD_PROJECT": "",
}
# What is wrong with one image. Anything else is wrong with all of them, and ends the run.
_OF_ONE_IMAGE: Final = (ImageNotFound, ImageTooLarge, InvalidImage, StorageUnavailable, UnsupportedImage)
_INTERRUPTED: Final = 130


class UsageError(ValueError):
    """What was asked for cannot be begun; the sentence is for the person who asked."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What became of one image: what was found and how long it took, or what failed.

    `took_ms` is without the loading of a model, which the first image alone waits for.
    """

    image: Path
    found: str = ""
    took_ms: float = 0.0
    error: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("images", type=Path, nargs="+", metavar="IMAGE", help="an image file")
    add("--models", type=Path, required=True, metavar="DIR", help="as models/ in the bucket: DIR/T/detect.onnx")
    add("--tenant", required=True, metavar="T", help="whose models")
    add("--pipeline", metavar="NAME", help="default: DEFAULT_PIPELINE, or detect")
    add(
        "--options",
        metavar="JSON",
        help='as a message\'s: \'{"confidence_threshold": 0.4, "resampling": "fast"}\'',
    )
    add("--out", type=Path, required=True, metavar="DIR", help="DIR/IMAGE/ gets result.json and annotated.jpg")
    parser.epilog = (
        "Settings such as CONFIDENCE_THRESHOLD and ORT_THREADS are read from the environment, as in the cloud."
    )


def run(arguments: argparse.Namespace) -> int:
    """0: every image has its result; 1: one has not, or nothing was begun."""
    done: list[Prediction] = []
    status = 0
    try:
        config = Config.from_environment(os.environ | _NOT_THE_CLOUD)
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
        for path in with_progress(requests):
            done.append(_predict(path, requests[path], pipeline))  # noqa: PERF401 - what is done counts if it ends early
    except ModelNotFound as error:
        place = arguments.models / error.tenant_id / f"{error.model_type}.onnx"
        return _fail(f"{error}: there is no {place}")
    except (UsageError, ConfigError, TenantVisionError) as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        status = _INTERRUPTED
    failed = [each for each in done if each.error]
    for each in failed:
        _fail(f"{each.image}: {each.error}")
    print(table(done))
    print(f"{len(done) - len(failed)} of {len(requests)} images done, in {arguments.out}")
    return status or (1 if failed else 0)


def index_by_name(images: Sequence[Path], *, out: Path) -> dict[str, Path]:
    """The images by the names their results go under; the same file named twice is one image.

    Raises:
        Refused: the results of one would lie in another's place.
    """
    named: dict[str, Path] = {}
    for path in images:
        other = named.setdefault(path.name, path)
        if other.resolve() != path.resolve():
            raise UsageError(f"{other} and {path} have the same name, and so would their results: one at a time")
        if (out / path.name).is_file():
            raise UsageError(f"{out / path.name} is a file: --out takes a folder other than the images' own")
    return named


def build_requests(
    images: Mapping[str, Path], *, tenant_id: str, pipeline: str | None, options: str | None, config: Config
) -> dict[Path, Request]:
    """The requests that messages about these images would be, checked as those are. `options`: a JSON object.

    Raises:
        Refused: a message that said so would be rejected.
    """
    body = b""
    if options is not None:
        try:
            body = json.dumps({"options": events.parse_json(options.encode())}).encode()
        except (InvalidEvent, UnicodeEncodeError) as error:
            raise UsageError(f"--options {options!r} is not valid JSON") from error
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


def table(done: Sequence[Prediction]) -> str:
    """A line an image: its name, what was found, and milliseconds."""
    return format_table([("image", "found", "ms"), *map(_row, done)], "<<>")


def describe_result(document: Mapping[str, Any]) -> str:
    """A result in a few words: how many of each label, and what the image as a whole most likely is."""
    words = [f"{count} {label}" for label, count in document["counts"].items()]
    words += [f"{each['label']} {each['confidence']:.0%}" for each in document.get("classification", [])[:1]]
    return ", ".join(words) or "nothing"


def with_progress(images: Iterable[Path]) -> Iterable[Path]:
    """The images, with a bar for a person who watches a terminal; nothing anywhere else."""
    if not sys.stderr.isatty():
        return images
    from tqdm import tqdm  # noqa: PLC0415 - 60 ms that a script need not wait for

    bar: Iterable[Path] = tqdm(list(images), unit=" images", leave=False)
    return bar


def _predict(path: Path, request: Request, pipeline: PipelineRunner) -> Prediction:
    with event_record() as summary:
        try:
            outcome = pipeline.run(request)
        except ImageNotFound:
            return Prediction(path, error="there is no such file")
        except _OF_ONE_IMAGE as error:
            return Prediction(path, error=str(error))
        timings = summary.timings_ms
    return Prediction(
        path, describe_result(json.loads(outcome.document or b"{}")), timings["total"] - timings.get("model", 0.0)
    )


def _row(each: Prediction) -> tuple[str, str, str]:
    if each.error:
        return each.image.name, "failed", "-"
    return each.image.name, each.found, f"{each.took_ms:.0f}"


def _fail(sentence: str) -> int:
    print(f"local predict: {sentence}", file=sys.stderr)
    return 1
