"""Parses the environment into a frozen Config, and names each setting that is missing or invalid."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Final

from shared.errors import ConfigError
from shared.names import PIPELINE_NAME, quoted

_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_TOPIC: Final = re.compile(r"(?:projects/[a-z0-9.:-]{4,63}/topics/)?[A-Za-z][A-Za-z0-9._~+%-]{2,254}")
_PROJECT: Final = re.compile(r"[a-z0-9.:-]{4,63}")
_DOMAIN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
MODEL_DOMAINS: Final = ("ai.onnx", "ai.onnx.ml", "com.microsoft")  # ONNX's own, and that of quantised models
_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR")

Parse = Callable[[str], Any]


def _matching(pattern: re.Pattern[str]) -> Parse:
    def parse(text: str) -> str:
        if not pattern.fullmatch(text):
            raise ValueError(text)
        return text

    return parse


def _number(kind: type[int | float], low: float, high: float) -> Parse:
    def parse(text: str) -> int | float:
        value = kind(text)
        if not low <= value <= high:
            raise ValueError(text)
        return value

    return parse


def _slice(text: str) -> int:
    value = int(text)
    if value != 0 and not 32 <= value <= 7680:
        raise ValueError(text)
    return value


def _sizes(text: str) -> tuple[int, ...]:
    """Parse sizes separated by commas or spaces: gcloud separates settings by commas, which spaces avoid."""
    values = sorted({int(each) for each in text.replace(",", " ").split()})
    if not values or len(values) > 8 or not 16 <= values[0] <= values[-1] <= 8192:
        raise ValueError(text)
    return tuple(values)


def _domains(text: str) -> tuple[str, ...]:
    values = tuple(dict.fromkeys(text.replace(",", " ").split()))
    if not values or not all(map(_DOMAIN.fullmatch, values)):
        raise ValueError(text)
    return values


def _level(text: str) -> str:
    if text.upper() not in _LEVELS:
        raise ValueError(text)
    return text.upper()


def _setting(name: str, accepts: str, parse: Parse, default: Any = MISSING) -> Any:
    metadata = {"name": name, "accepts": accepts, "parse": parse}
    return field(metadata=metadata) if default is MISSING else field(default=default, metadata=metadata)


_BUCKET_NAME: Final = "a bucket name without gs:// and path"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The parsed settings. A field's metadata hold its variable (`name`), valid values (`accepts`) and `parse`.

    Models, uploads and results lie under fixed prefixes (`models/`, `uploads/`, `results/`), and a bucket name
    cannot have a path. So no setting can make the function write results where uploads are watched.
    """

    gcs_bucket: str = _setting("GCS_BUCKET", _BUCKET_NAME, _matching(_BUCKET))
    error_topic: str = _setting("ERROR_TOPIC", "a topic, NAME or projects/PROJECT/topics/NAME", _matching(_TOPIC))
    upload_bucket: str = _setting("UPLOAD_BUCKET", _BUCKET_NAME, _matching(_BUCKET), "")
    results_bucket: str = _setting("RESULTS_BUCKET", _BUCKET_NAME, _matching(_BUCKET), "")
    project: str = _setting("GOOGLE_CLOUD_PROJECT", "a project id", _matching(_PROJECT), "")
    default_pipeline: str = _setting("DEFAULT_PIPELINE", "a pipeline name", _matching(PIPELINE_NAME), "detect")
    confidence_threshold: float = _setting("CONFIDENCE_THRESHOLD", "0 to 1", _number(float, 0, 1), 0.25)
    iou_threshold: float = _setting("IOU_THRESHOLD", "0 to 1", _number(float, 0, 1), 0.7)
    max_detections: int = _setting("MAX_DETECTIONS", "1 to 30000", _number(int, 1, 30_000), 300)
    slice_size: int = _setting("SLICE_SIZE", "0 (the model's own) or 32 to 7680 px", _slice, 0)
    slice_overlap: float = _setting("SLICE_OVERLAP", "0 to 0.9", _number(float, 0, 0.9), 0.2)
    max_image_bytes: int = _setting("MAX_IMAGE_BYTES", "bytes, 1 to 2**30", _number(int, 1, 2**30), 64 * 2**20)
    max_image_pixels: int = _setting(
        "MAX_IMAGE_PIXELS", "pixels, 1 to 178000000", _number(int, 1, 178_000_000), 64_000_000
    )
    model_refresh_s: float = _setting(
        "MODEL_REFRESH_SECONDS", "seconds, 0 to 86400", _number(float, 0, 86_400), 60.0
    )
    model_cache_bytes: int = _setting(
        "MODEL_CACHE_BYTES", "bytes, 0 (no limit) to 2**40", _number(int, 0, 2**40), 0
    )
    max_model_bytes: int = _setting("MAX_MODEL_BYTES", "bytes, 1 to 2**31", _number(int, 1, 2**31), 512 * 2**20)
    max_run_s: float = _setting("MAX_RUN_SECONDS", "seconds, 0.1 to 3540", _number(float, 0.1, 3540), 60.0)
    model_domains: tuple[str, ...] = _setting(
        "MODEL_DOMAINS", "operator domains, separated by commas or spaces", _domains, MODEL_DOMAINS
    )
    thumbnail_sizes: tuple[int, ...] = _setting(
        "THUMBNAIL_SIZES", "up to 8 sizes of 16 to 8192 px, separated by commas or spaces", _sizes, ()
    )
    ort_threads: int = _setting("ORT_THREADS", "0 (all CPUs of the instance) to 256", _number(int, 0, 256), 0)
    workers: int = _setting(
        "WORKER_PROCESSES",
        "-1 (one a CPU), 0 (compute in the process that answers) or up to 64",
        _number(int, -1, 64),
        -1,
    )
    event_deadline_s: float = _setting(
        "EVENT_DEADLINE_SECONDS", "seconds, 1 to 3540", _number(float, 1, 3540), 480.0
    )
    max_event_age_s: float = _setting(
        "MAX_EVENT_AGE", "seconds, 0 to 604800", _number(float, 0, 604_800), 21_600.0
    )
    log_level: str = _setting("LOG_LEVEL", ", ".join(_LEVELS), _level, "INFO")

    @property
    def publish_reserve_s(self) -> float:
        """Seconds of an event's time that are kept for publishing its error."""
        return min(10.0, self.event_deadline_s / 10)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Config:
        """Parse `environment`. An empty value counts as absent.

        Raises:
            ConfigError: it names every setting that is missing or invalid.
        """
        values: dict[str, Any] = {}
        mistakes: list[str] = []
        for each in fields(cls):
            name, accepts = each.metadata["name"], each.metadata["accepts"]
            text = environment.get(name, "").strip()
            if text:
                try:
                    values[each.name] = each.metadata["parse"](text)
                except ValueError:
                    mistakes.append(f"{name}={quoted(text)} is invalid: expected {accepts}")
            elif each.default is MISSING:
                mistakes.append(f"{name} is required: expected {accepts}")
        if mistakes:
            raise ConfigError("; ".join(mistakes))
        bucket = values["gcs_bucket"]
        return cls(**{"upload_bucket": bucket, "results_bucket": bucket, **values})
