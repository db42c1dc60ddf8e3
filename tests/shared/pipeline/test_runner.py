"""Tests the runner with a store in memory: what is read and written, and what is not repeated."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from shared.config import Config
from shared.errors import (
    DeadlineExceeded,
    Ignored,
    ImageNotFound,
    ImageTooLarge,
    InvalidModel,
    InvalidPipeline,
    ModelNotFound,
    StorageUnavailable,
    UnsupportedImage,
)
from shared.events import ImageRef, Request
from shared.ml.model_cache import ModelCache
from shared.pipeline.runner import PipelineRunner, RunResult
from shared.runtime import deadline
from shared.runtime.event_record import event_record
from shared.vision.images import codec
from testing import models
from testing.memory_store import MemoryStore
from testing.pictures import picture

MODEL = "models/tenant-001/detect.onnx"
IMAGE = "uploads/tenant-001/a.png"
PICTURE, RESULT = "results/tenant-001/a.png/annotated.jpg", "results/tenant-001/a.png/result.json"


@pytest.fixture
def store() -> Iterator[MemoryStore]:
    store = MemoryStore()
    store.put(MODEL, models.detect())
    yield store
    for gate in store.gates.values():
        gate.set()
    ModelCache.clear_cache()


@pytest.fixture
def run(store: MemoryStore) -> Callable[..., RunResult]:
    """Return a function that runs a request: generation, other fields and settings."""
    ModelCache.configure(store, bucket="b", threads=1, refresh_s=0.0)

    def run(generation: int | None = None, *, image: str = IMAGE, settings: Any = (), **fields: Any) -> RunResult:
        config = Config(
            **{
                "gcs_bucket": "b",
                "error_topic": "e",
                "upload_bucket": "b",
                "results_bucket": "b",
                **dict(settings),
            }
        )
        request = Request(
            **{"tenant_id": "tenant-001", "pipeline": "detect", **fields}, image=ImageRef("b", image, generation)
        )
        with event_record(), deadline.fail_after(config.event_deadline_s):
            return PipelineRunner(store, config).run(request)

    return run


@pytest.fixture(scope="module")
def validate(root: Path) -> Callable[[Any], None]:
    return jsonschema.Draft202012Validator(
        json.loads((root / "shared/schemas/result.schema.json").read_text())
    ).validate


def written(store: MemoryStore) -> list[str]:
    return [name for name in store.names() if name.startswith("results/")]


def result(store: MemoryStore) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(store.data(RESULT))
    return document


def test_run_writes_picture_and_result(
    store: MemoryStore, run: Callable[..., RunResult], validate: Callable[[Any], None]
) -> None:
    generation = store.put(IMAGE, picture((128, 64), kind="PNG"))
    outcome = run()
    assert not outcome.duplicate
    assert outcome.document == store.data(RESULT)
    document = result(store)
    validate(document)
    assert document["image"] == {"uri": f"gs://b/{IMAGE}", "generation": generation, "width": 128, "height": 64}
    # The canvas is 64 x 64, the image half as large in it, 16 px from the top.
    assert [each["box"] for each in document["detections"]] == [[16, 0, 48, 16], [64, 32, 112, 64]]
    assert store.data(PICTURE).startswith(b"\xff\xd8")
    assert written(store) == [PICTURE, RESULT]


def test_result_is_written_last(store: MemoryStore, run: Callable[..., RunResult]) -> None:
    store.put(IMAGE, picture(kind="PNG"))
    store.failures["write", RESULT] = StorageUnavailable("x")
    with pytest.raises(StorageUnavailable):
        run()
    assert written(store) == [PICTURE]
    store.failures = {("write", PICTURE): StorageUnavailable("x")}
    with pytest.raises(StorageUnavailable):
        run()
    assert RESULT not in store.names()
    store.failures.clear()
    assert not run().duplicate


def test_duplicate_costs_no_download_and_no_inference(store: MemoryStore, run: Callable[..., RunResult]) -> None:
    store.put(IMAGE, picture(kind="PNG"))
    run()
    before = dict(store.calls)
    assert run().duplicate
    spent = {call for call, count in store.calls.items() if count != before.get(call)}
    own = "models/tenant-001/pipelines.json"  # read by each new runner, and then cached
    assert spent == {("stat", IMAGE), ("stat", RESULT), ("changed", MODEL), ("read", own)}


def test_repeated_work_gives_equal_bytes(store: MemoryStore, run: Callable[..., RunResult]) -> None:
    store.put(IMAGE, picture(kind="PNG"))
    documents = []
    for _ in range(2):
        run(request_id="r")
        documents.append(
            {k: v for k, v in result(store).items() if k not in {"timings_ms", "created_at", "event_id"}}
        )
        pictures = store.data(PICTURE)
        store.remove(RESULT)
        ModelCache.clear_cache()
    assert documents[0] == documents[1]
    assert pictures == store.data(PICTURE)


def test_image_options_models_and_settings_change_the_work_id(
    store: MemoryStore, run: Callable[..., RunResult]
) -> None:
    store.put(IMAGE, picture(kind="PNG"))
    run()
    for change in (
        lambda: store.put(IMAGE, picture(colour="grey", kind="PNG")),
        lambda: store.put(MODEL, models.detect()),
        lambda: store.remove(RESULT),
    ):
        change()
        assert not run().duplicate
        assert run().duplicate
    assert not run(options={"confidence_threshold": 0.85}).duplicate
    assert not run(settings={"iou_threshold": 0.5}).duplicate


def test_options_at_their_defaults_keep_the_work_id(store: MemoryStore, run: Callable[..., RunResult]) -> None:
    store.put(IMAGE, picture(kind="PNG"))
    run()
    assert run(options={"max_detections": 300}).duplicate


def test_request_and_event_ids_keep_the_work_id(store: MemoryStore, run: Callable[..., RunResult]) -> None:
    generation = store.put(IMAGE, picture(kind="PNG"))
    run(request_id="a", event_id="1")
    assert run(request_id="b", event_id="2").duplicate
    assert run(generation, source="upload").duplicate


def test_older_generation_than_the_result_is_ignored(store: MemoryStore, run: Callable[..., RunResult]) -> None:
    old = store.put(IMAGE, picture(kind="PNG"))
    store.put(IMAGE, picture(kind="PNG"))
    run()
    for source in ("upload", "message"):
        with pytest.raises(Ignored):
            run(old, source=source)


def test_copies_of_own_outputs_are_ignored_without_a_download(
    store: MemoryStore, run: Callable[..., RunResult]
) -> None:
    store.put(IMAGE, picture(kind="PNG"))
    run(settings={"thumbnail_sizes": (64,)})
    for name in written(store):
        stat = store.stat("b", name)
        generation = store.put(IMAGE, store.data(name), stat.metadata)
        reads = store.calls["read", IMAGE]
        with pytest.raises(Ignored, match="copy of an output"):
            run(generation, source="upload", origin_unknown=True)
        assert store.calls["read", IMAGE] == reads


def test_upload_of_unknown_origin_is_processed_or_ignored_if_missing(
    store: MemoryStore, run: Callable[..., RunResult]
) -> None:
    generation = store.put(IMAGE, picture(kind="PNG"))
    assert not run(generation, source="upload", origin_unknown=True).duplicate
    with pytest.raises(Ignored, match="gone"):
        run(generation - 1, source="upload", origin_unknown=True)


def test_origin_is_looked_up_only_if_the_event_lacks_metadata(
    store: MemoryStore, run: Callable[..., RunResult]
) -> None:
    generation = store.put(IMAGE, picture(kind="PNG"))
    run(generation, source="upload")
    assert store.calls["stat", IMAGE] == 0


def test_new_image_costs_four_storage_calls_and_one_per_thumbnail(
    store: MemoryStore, run: Callable[..., RunResult]
) -> None:
    generation = store.put(IMAGE, picture(kind="PNG"))
    run(generation, source="upload", settings={"thumbnail_sizes": (64,)})
    calls = {f"{verb} {name.rpartition('/')[2]}": count for (verb, name), count in store.calls.items()}
    assert calls.pop("read pipelines.json") == 1, "for all events, like the model"
    assert calls.pop("read detect.onnx") == 1
    assert calls == {
        "stat result.json": 1,
        "read a.png": 1,
        "write annotated.jpg": 1,
        "write thumbnail-64.jpg": 1,
        "write result.json": 1,
    }


def test_result_without_valid_metadata_is_replaced(store: MemoryStore, run: Callable[..., RunResult]) -> None:
    store.put(IMAGE, picture(kind="PNG"))
    for metadata in ({}, {"tenant-vision-image-generation": "x"}, {"tenant-vision-image-generation": "-1"}):
        store.put(RESULT, b"of somebody else", metadata)
        assert not run().duplicate
        assert result(store)["schema_version"] == 1


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"image": "uploads/tenant-001/gone.png"}, ImageNotFound),
        ({"image": "uploads/tenant-001/gone.png", "generation": 5}, ImageNotFound),
        ({"image": "uploads/tenant-001/gone.png", "generation": 5, "source": "upload"}, Ignored),
        ({"pipeline": "astrology"}, InvalidPipeline),
        ({"options": {"colour": "red"}}, InvalidPipeline),
        ({"tenant_id": "tenant-002", "image": "uploads/tenant-002/a.png"}, ModelNotFound),
        ({"settings": {"max_image_bytes": 20}}, ImageTooLarge),
        ({"settings": {"max_image_pixels": 4095}}, ImageTooLarge),
        ({"settings": {"event_deadline_s": 0.0}}, DeadlineExceeded),
    ],
)
def test_failure_leaves_no_result(
    fields: dict[str, Any], error: Any, store: MemoryStore, run: Callable[..., RunResult]
) -> None:
    for name in (IMAGE, "uploads/tenant-002/a.png"):
        store.put(name, picture(kind="PNG"))
    with pytest.raises(error):
        run(**fields)
    assert written(store) == []


def test_format_is_detected_from_content_not_name(store: MemoryStore, run: Callable[..., RunResult]) -> None:
    store.put(IMAGE, picture(kind="JPEG"))
    run()
    store.put(IMAGE, b"%!PS-Adobe-3.0 EPSF-3.0")
    with pytest.raises(UnsupportedImage):
        run()


def test_deleted_model_is_reported_despite_an_existing_result(
    store: MemoryStore, run: Callable[..., RunResult]
) -> None:
    store.put(IMAGE, picture(kind="PNG"))
    run()
    store.remove(MODEL)
    with pytest.raises(ModelNotFound):
        run()


@pytest.mark.parametrize(
    "variant",
    [
        {"dynamic": True},
        {"half": True},
        {"batch": 4},
        {"without_metadata": True},
        {"canvas_hw": (32, 96)},
        {"labels": ("only",), "boxes": ((16, 16, 16, 16, 0, 0.9),)},
    ],
)
def test_each_kind_of_export_gives_detections(
    variant: dict[str, Any], store: MemoryStore, run: Callable[..., RunResult], validate: Callable[[Any], None]
) -> None:
    store.put(MODEL, models.detect(**variant))
    store.put(IMAGE, picture((200, 100), kind="PNG"))
    run()
    validate(result(store))
    assert result(store)["detections"]


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf, 1e30, -1e30])
@pytest.mark.parametrize("row", [0, 1, 2, 3, 4])
def test_non_finite_outputs_make_no_invalid_document(
    number: float, row: int, store: MemoryStore, run: Callable[..., RunResult], validate: Callable[[Any], None]
) -> None:
    answer = np.zeros((1, 6, 8), np.float32)
    answer[0, :, 0] = 16, 16, 8, 8, 0.9, 0
    answer[0, :, 1] = 40, 40, 8, 8, 0.8, 0
    answer[0, row, 0] = number
    store.put(MODEL, models.constant_output(answer))
    store.put(IMAGE, picture(kind="PNG"))
    try:
        run()
    except InvalidModel:
        return
    document = json.loads(store.data(RESULT), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    validate(document)
    assert [40.0 in each["box"] or 36.0 in each["box"] for each in document["detections"]].count(True) == 1


def test_write_whose_response_is_lost_counts_as_done(store: MemoryStore, run: Callable[..., RunResult]) -> None:
    """The response to a write is lost, and the client retries it."""
    store.loses_answers = True
    for colour in ("white", "black"):
        generation = store.put(IMAGE, picture(colour=colour, kind="PNG"))
        outcome = run(generation)
        assert outcome.document == store.data(RESULT)
        assert not outcome.duplicate
        assert run(generation).duplicate


# Two deliveries at once


def test_second_of_two_concurrent_deliveries_is_a_duplicate(
    store: MemoryStore, run: Callable[..., RunResult]
) -> None:
    generation = store.put(IMAGE, picture(kind="PNG"))
    gate = store.gate(IMAGE)
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(run, generation) for _ in range(2)]
        for _ in range(2):
            assert store.entered.acquire(timeout=10)
        gate.set()
        assert sorted(future.result(20).duplicate for future in futures) == [False, True]
    assert run(generation).duplicate


def test_late_delivery_of_an_old_image_keeps_the_newer_picture(
    store: MemoryStore, run: Callable[..., RunResult]
) -> None:
    """The old generation is read, then the new one is processed first."""
    old = store.put(IMAGE, picture(colour="black", kind="PNG"))
    gate = store.gate(IMAGE)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(run, old)
        assert store.entered.acquire(timeout=10)
        new = old + 1
        newer = store.put(RESULT, b"{}", {"tenant-vision-image-generation": str(new)})
        store.put(PICTURE, b"the new picture", {"tenant-vision-image-generation": str(new)})
        gate.set()
        error = slow.exception(20)
    assert isinstance(error, Ignored)
    assert store.stat("b", RESULT).generation == newer
    assert store.data(PICTURE) == b"the new picture"


def test_live_image_replaced_before_download_is_deferred(
    store: MemoryStore, run: Callable[..., RunResult]
) -> None:
    store.put(IMAGE, picture(kind="PNG"))
    gate = store.gate(IMAGE)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(run)
        assert store.entered.acquire(timeout=10)
        newer = store.put(IMAGE, picture(colour="black", kind="PNG"))
        gate.set()
        assert isinstance(slow.exception(20), StorageUnavailable)
    run()
    assert result(store)["image"]["generation"] == newer


@pytest.fixture
def result_by_newer_model(store: MemoryStore, run: Callable[..., RunResult]) -> int:
    """Store a result by a newer model than the cached one; return the image's generation."""
    ModelCache.configure(store, bucket="b", threads=1, refresh_s=1000)
    generation = store.put(IMAGE, picture(kind="PNG"))
    run(generation)
    metadata = dict(store.stat("b", RESULT).metadata)
    newer = store.put(MODEL, models.detect(labels=("weed", "pot")))
    store.put(RESULT, b"{}", metadata | {"tenant-vision-model-detect": f"b#{newer}", "tenant-vision-work": "x"})
    return generation


def test_result_by_a_newer_model_refreshes_the_model_first(
    store: MemoryStore, run: Callable[..., RunResult], result_by_newer_model: int
) -> None:
    assert not run(result_by_newer_model).duplicate
    assert result(store)["counts"] == {"weed": 1, "pot": 1}
    assert run(result_by_newer_model).duplicate


def test_result_by_a_newer_model_is_kept_while_it_cannot_be_loaded(
    store: MemoryStore, run: Callable[..., RunResult], result_by_newer_model: int
) -> None:
    store.failures["changed", MODEL] = StorageUnavailable("x")
    with pytest.raises(StorageUnavailable, match="newer model than this instance has: detect"):
        run(result_by_newer_model)
    assert store.data(RESULT) == b"{}"


def test_generations_of_another_models_bucket_are_not_compared(
    store: MemoryStore, run: Callable[..., RunResult]
) -> None:
    generation = store.put(IMAGE, picture(kind="PNG"))
    metadata = {"tenant-vision-image-generation": str(generation), "tenant-vision-model-detect": "before#9999"}
    store.put(RESULT, b"{}", metadata)
    assert not run(generation).duplicate


def test_thumbnails_are_written_before_the_result(store: MemoryStore, run: Callable[..., RunResult]) -> None:
    store.put(IMAGE, picture((128, 64), kind="PNG"))
    sizes = {"results/tenant-001/a.png/thumbnail-64.jpg": 64, "results/tenant-001/a.png/thumbnail-1024.jpg": 128}
    store.failures["write", RESULT] = StorageUnavailable("x")
    with pytest.raises(StorageUnavailable):
        run(settings={"thumbnail_sizes": (64, 1024)})
    assert written(store) == sorted([PICTURE, *sizes])
    for name, width in sizes.items():
        assert codec.decode(store.data(name), max_pixels=10**6).shape == (width // 2, width, 3)
        assert store.stat("b", name).metadata == store.stat("b", PICTURE).metadata
