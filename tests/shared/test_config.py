"""Settings: defaults, accepted values, and errors for invalid ones."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.config import Config
from shared.errors import ConfigError

REQUIRED = {"GCS_BUCKET": "models", "ERROR_TOPIC": "errors"}


def config(**settings: str) -> Config:
    return Config.from_environment(REQUIRED | settings)


def test_defaults_of_all_settings() -> None:
    assert config() == Config(
        gcs_bucket="models",
        error_topic="errors",
        upload_bucket="models",
        results_bucket="models",
        project="",
        default_pipeline="detect",
        confidence_threshold=0.25,
        iou_threshold=0.7,
        max_detections=300,
        slice_size=0,
        slice_overlap=0.2,
        max_image_bytes=64 * 2**20,
        max_image_pixels=64_000_000,
        model_refresh_s=60.0,
        model_cache_bytes=0,
        max_model_bytes=512 * 2**20,
        max_run_s=60.0,
        model_domains=("ai.onnx", "ai.onnx.ml", "com.microsoft"),
        thumbnail_sizes=(),
        ort_threads=0,
        event_deadline_s=480.0,
        max_event_age_s=21_600.0,
        log_level="INFO",
    )


def test_every_default_is_a_valid_value() -> None:
    for field in dataclasses.fields(Config):
        if field.default is not dataclasses.MISSING and field.default not in {"", ()}:
            default = ",".join(field.default) if isinstance(field.default, tuple) else str(field.default)
            assert field.metadata["parse"](default) == field.default


def test_empty_environment_names_every_required_setting() -> None:
    with pytest.raises(ConfigError, match=r"GCS_BUCKET is required.*ERROR_TOPIC is required"):
        Config.from_environment({})


@pytest.mark.parametrize("empty", ["", " ", "\t\n"])
def test_empty_setting_counts_as_absent(empty: str) -> None:
    names = [field.metadata["name"] for field in dataclasses.fields(Config)]
    assert config(**{name: empty for name in names if name not in REQUIRED}) == config()
    with pytest.raises(ConfigError, match="GCS_BUCKET is required"):
        config(GCS_BUCKET=empty)


def test_unknown_variables_are_ignored() -> None:
    assert config(PATH="/bin", gcs_bucket="other", CONFIDENCE="2") == config()


GOOD = {
    "GCS_BUCKET": ["abc", "a.b-c_d", "1bucket1", "a" * 63],
    "ERROR_TOPIC": ["errors", "projects/my-project/topics/errors", "projects/example.com:p/topics/e-1"],
    "UPLOAD_BUCKET": ["uploads"],
    "RESULTS_BUCKET": ["results"],
    "GOOGLE_CLOUD_PROJECT": ["my-project", "example.com:project"],
    "DEFAULT_PIPELINE": ["detect", "my_own-2"],
    "CONFIDENCE_THRESHOLD": ["0", "1", "0.5", "1e-3", " 0.5 "],
    "IOU_THRESHOLD": ["0", "1"],
    "MAX_DETECTIONS": ["1", "30000"],
    "SLICE_SIZE": ["0", "32", "7680"],
    "SLICE_OVERLAP": ["0", "0.9"],
    "MAX_IMAGE_BYTES": ["1", str(2**30)],
    "MAX_IMAGE_PIXELS": ["1", "178000000"],
    "MODEL_REFRESH_SECONDS": ["0", "0.5", "86400"],
    "MODEL_CACHE_BYTES": ["0", "1", str(2**40)],
    "MAX_MODEL_BYTES": ["1", str(2**31)],
    "MAX_RUN_SECONDS": ["0.1", "3540"],
    "MODEL_DOMAINS": ["ai.onnx", "ai.onnx,com.microsoft", "ai.onnx own_ops.v2"],
    "THUMBNAIL_SIZES": ["320", "320,1024", "1024, 320", "16 8192", ",320,,320,"],
    "ORT_THREADS": ["0", "256"],
    "WORKER_PROCESSES": ["-1", "0", "64"],
    "EVENT_DEADLINE_SECONDS": ["1", "3540"],
    "MAX_EVENT_AGE": ["0", "604800"],
    "LOG_LEVEL": ["DEBUG", "info", "Warning", "ERROR"],
}
BAD = {
    "GCS_BUCKET": [
        "gs://models",
        "models/",
        "Models",
        "a",
        "ab",
        "-models",
        "models-",
        "mod els",
        "models\n-x",
        "a/b",
    ],
    "ERROR_TOPIC": [
        "1errors",
        "er",
        "topics/errors",
        "projects/p/topics/",
        "projects/my-project/topics/a b",
        "a/b/c",
    ],
    "UPLOAD_BUCKET": ["gs://uploads", "uploads/uploads"],
    "RESULTS_BUCKET": ["gs://results", "uploads/results"],
    "GOOGLE_CLOUD_PROJECT": ["My-Project", "a", "p p p p"],
    "DEFAULT_PIPELINE": ["Detect", "1", "../detect", "a" * 64],
    "CONFIDENCE_THRESHOLD": ["-0.1", "1.01", "nan", "inf", "high", "0,5", "50%"],
    "IOU_THRESHOLD": ["-1", "2", "nan"],
    "MAX_DETECTIONS": ["0", "-1", "30001", "1.5", "many"],
    "SLICE_SIZE": ["31", "-1", "7681", "512x512"],
    "SLICE_OVERLAP": ["-0.1", "1", "a fifth"],
    "MAX_IMAGE_BYTES": ["0", str(2**30 + 1), "64MB"],
    "MAX_IMAGE_PIXELS": ["0", "178000001"],
    "MODEL_REFRESH_SECONDS": ["-1", "86401", "1m", "inf"],
    "MODEL_CACHE_BYTES": ["-1", str(2**40 + 1), "2GB"],
    "MAX_MODEL_BYTES": ["0", str(2**31 + 1), "512MB"],
    "MAX_RUN_SECONDS": ["0", "3541", "nan", "a minute"],
    "MODEL_DOMAINS": [",", "ai/onnx", "-", "ai.onnx;com"],
    "THUMBNAIL_SIZES": ["0", "15", "8193", "320;1024", "320px", ",", "-320", "1.5", "16,17,18,19,20,21,22,23,24"],
    "ORT_THREADS": ["-1", "257", "auto"],
    "WORKER_PROCESSES": ["-2", "65", "all"],
    "EVENT_DEADLINE_SECONDS": ["0", "3541"],
    "MAX_EVENT_AGE": ["-1", "604801", "6h"],
    "LOG_LEVEL": ["TRACE", "5"],
}


def test_value_tables_cover_every_setting() -> None:
    names = {field.metadata["name"] for field in dataclasses.fields(Config)}
    assert set(GOOD) == set(BAD) == names


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in GOOD.items() for value in values])
def test_valid_value_is_accepted(name: str, value: str) -> None:
    parsed = dataclasses.asdict(config(**{name: value}))
    field = next(each for each in dataclasses.fields(Config) if each.metadata["name"] == name)
    value_parsed = parsed[field.name]
    if name == "MODEL_DOMAINS":
        assert list(value_parsed) == value.replace(",", " ").split()
        return
    if isinstance(value_parsed, tuple):
        assert list(value_parsed) == sorted({int(each) for each in value.replace(",", " ").split()})
        return
    assert type(value_parsed).__name__ == field.type
    assert str(value_parsed).lower() == value.strip().lower() or float(value_parsed) == float(value)


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD.items() for value in values])
def test_invalid_value_is_named_with_what_the_setting_accepts(name: str, value: str) -> None:
    accepted = {each.metadata["name"]: each.metadata["accepts"] for each in dataclasses.fields(Config)}[name]
    with pytest.raises(ConfigError) as caught:
        config(**{name: value})
    assert str(caught.value).startswith(f"{name}=")
    assert accepted in str(caught.value)


def test_all_invalid_settings_are_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        config(GCS_BUCKET="gs://x", IOU_THRESHOLD="7", LOG_LEVEL="loud")
    for name in ("GCS_BUCKET", "IOU_THRESHOLD", "LOG_LEVEL"):
        assert f"{name}=" in str(caught.value)


@given(st.sampled_from(sorted(GOOD)), st.text(max_size=12) | st.from_regex(r"[0-9eE+_.-]{1,6}"))
def test_any_text_is_accepted_or_rejected_by_name(name: str, text: str) -> None:
    try:
        config(**{name: text})
    except ConfigError as error:
        assert name in str(error)  # noqa: PT017 - either is right


def test_config_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        config().iou_threshold = 0.1  # type: ignore[misc]


def test_no_setting_is_one_of_the_server() -> None:
    server = {
        "DEBUG",
        "FUNCTION_SIGNATURE_TYPE",
        "FUNCTION_SOURCE",
        "FUNCTION_TARGET",
        "HOST",
        "PORT",
        "THREADS",
        "WORKERS",
    }

    assert server.isdisjoint(field.metadata["name"] for field in dataclasses.fields(Config))
