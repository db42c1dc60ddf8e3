"""The journey of one request on a store in memory: what is read, what is written, what is not done twice."""

import json
from concurrent.futures import ThreadPoolExecutor

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
from shared.pipeline.runner import PipelineRunner
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
def store():
    store = MemoryStore()
    store.put(MODEL, models.detect())
    yield store
    for gate in store.gates.values():
        gate.set()
    ModelCache.clear_cache()


@pytest.fixture
def run(store):
    """Gives a function: a generation of the image, what else a request says, and settings -> an outcome."""
    ModelCache.configure(store, bucket="b", threads=1, refresh_s=0.0)

    def run(generation=None, *, image=IMAGE, settings=(), **asked):
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
            **{"tenant_id": "tenant-001", "pipeline": "detect", **asked}, image=ImageRef("b", image, generation)
        )
        with event_record(), deadline.fail_after(config.event_deadline_s):
            return PipelineRunner(store, config).run(request)

    return run


@pytest.fixture(scope="module")
def validate(root):
    return jsonschema.Draft202012Validator(
        json.loads((root / "shared/schemas/result.schema.json").read_text())
    ).validate


def written(store):
    return [name for name in store.names() if name.startswith("results/")]


def result(store):
    return json.loads(store.data(RESULT))


def test_a_picture_and_a_result(store, run, validate):
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


def test_the_result_is_written_last(store, run):
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


def test_done_work_costs_neither_download_nor_inference(store, run):
    store.put(IMAGE, picture(kind="PNG"))
    run()
    before = dict(store.calls)
    assert run().duplicate
    spent = {call for call, count in store.calls.items() if count != before.get(call)}
    own = "models/tenant-001/pipelines.json"  # asked for by each new pipeline, and then kept
    assert spent == {("stat", IMAGE), ("stat", RESULT), ("changed", MODEL), ("read", own)}


def test_the_same_work_from_nothing_gives_the_same_bytes(store, run):
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


def test_other_images_options_models_and_settings_are_other_work(store, run):
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


def test_options_that_say_what_holds_anyway_are_the_same_work(store, run):
    store.put(IMAGE, picture(kind="PNG"))
    run()
    assert run(options={"max_detections": 300}).duplicate


def test_who_asks_and_by_which_event_is_no_other_work(store, run):
    generation = store.put(IMAGE, picture(kind="PNG"))
    run(request_id="a", event_id="1")
    assert run(request_id="b", event_id="2").duplicate
    assert run(generation, source="upload").duplicate


def test_an_older_generation_than_the_one_done_is_ignored(store, run):
    old = store.put(IMAGE, picture(kind="PNG"))
    store.put(IMAGE, picture(kind="PNG"))
    run()
    for source in ("upload", "message"):
        with pytest.raises(Ignored):
            run(old, source=source)


def test_all_that_is_written_is_marked_and_a_marked_image_is_ignored_before_it_is_read(store, run):
    store.put(IMAGE, picture(kind="PNG"))
    run(settings={"thumbnail_sizes": (64,)})
    for name in written(store):
        stat = store.stat("b", name)
        generation = store.put(IMAGE, store.data(name), stat.metadata)
        reads = store.calls["read", IMAGE]
        with pytest.raises(Ignored, match="copy of an output"):
            run(generation, source="upload", origin_unknown=True)
        assert store.calls["read", IMAGE] == reads


def test_an_image_that_might_be_ours_and_is_not_is_done_and_one_that_is_gone_is_ignored(store, run):
    generation = store.put(IMAGE, picture(kind="PNG"))
    assert not run(generation, source="upload", origin_unknown=True).duplicate
    with pytest.raises(Ignored, match="gone"):
        run(generation - 1, source="upload", origin_unknown=True)


def test_the_mark_is_looked_for_only_where_the_event_does_not_tell(store, run):
    generation = store.put(IMAGE, picture(kind="PNG"))
    run(generation, source="upload")
    assert store.calls["stat", IMAGE] == 0


def test_a_fresh_image_costs_four_calls_and_a_thumbnail_one_more(store, run):
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


def test_a_result_of_unknown_origin_is_replaced(store, run):
    store.put(IMAGE, picture(kind="PNG"))
    for metadata in ({}, {"tenant-vision-image-generation": "x"}, {"tenant-vision-image-generation": "-1"}):
        store.put(RESULT, b"of somebody else", metadata)
        assert not run().duplicate
        assert result(store)["schema_version"] == 1


@pytest.mark.parametrize(
    ("asked", "error"),
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
def test_what_goes_wrong_leaves_no_result(asked, error, store, run):
    for name in (IMAGE, "uploads/tenant-002/a.png"):
        store.put(name, picture(kind="PNG"))
    with pytest.raises(error):
        run(**asked)
    assert written(store) == []


def test_an_image_s_name_does_not_say_what_it_is(store, run):
    store.put(IMAGE, picture(kind="JPEG"))
    run()
    store.put(IMAGE, b"%!PS-Adobe-3.0 EPSF-3.0")
    with pytest.raises(UnsupportedImage):
        run()


def test_a_model_that_vanished_since_the_result_is_missing(store, run):
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
def test_every_kind_of_export_finds_its_boxes(variant, store, run, validate):
    store.put(MODEL, models.detect(**variant))
    store.put(IMAGE, picture((200, 100), kind="PNG"))
    run()
    validate(result(store))
    assert result(store)["detections"]


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf, 1e30, -1e30])
@pytest.mark.parametrize("row", [0, 1, 2, 3, 4])
def test_a_model_s_wild_numbers_make_no_invalid_document(number, row, store, run, validate):
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


def test_who_is_told_of_its_own_write_that_it_came_second_is_done_all_the_same(store, run):
    """The answer to a write is lost, and the client asks again."""
    store.loses_answers = True
    for colour in ("white", "black"):
        generation = store.put(IMAGE, picture(colour=colour, kind="PNG"))
        outcome = run(generation)
        assert outcome.document == store.data(RESULT)
        assert not outcome.duplicate
        assert run(generation).duplicate


# Two deliveries at once


def test_of_two_deliveries_of_the_same_image_one_writes_and_the_other_is_a_duplicate(store, run):
    generation = store.put(IMAGE, picture(kind="PNG"))
    gate = store.gate(IMAGE)
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(run, generation) for _ in range(2)]
        for _ in range(2):
            assert store.entered.acquire(timeout=10)
        gate.set()
        assert sorted(future.result(20).duplicate for future in futures) == [False, True]
    assert run(generation).duplicate


def test_a_slow_delivery_of_an_old_image_leaves_the_new_one_s_picture(store, run):
    """The old generation is read, then the new one overtakes it."""
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


def test_who_asks_for_the_live_image_comes_again_if_it_is_replaced_before_it_is_read(store, run):
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
def by_a_newer_model(store, run):
    """The image's generation, done by a newer model than the one held here: another instance knew it first."""
    ModelCache.configure(store, bucket="b", threads=1, refresh_s=1000)
    generation = store.put(IMAGE, picture(kind="PNG"))
    run(generation)
    metadata = dict(store.stat("b", RESULT).metadata)
    newer = store.put(MODEL, models.detect(labels=("weed", "pot")))
    store.put(RESULT, b"{}", metadata | {"tenant-vision-model-detect": f"b#{newer}", "tenant-vision-work": "x"})
    return generation


def test_a_model_that_another_instance_renewed_is_renewed_here_before_its_result_is_replaced(
    store, run, by_a_newer_model
):
    assert not run(by_a_newer_model).duplicate
    assert result(store)["counts"] == {"weed": 1, "pot": 1}
    assert run(by_a_newer_model).duplicate


def test_while_a_newer_model_cannot_be_had_its_result_is_left_alone(store, run, by_a_newer_model):
    store.failures["changed", MODEL] = StorageUnavailable("x")
    with pytest.raises(StorageUnavailable, match="newer model than this instance has: detect"):
        run(by_a_newer_model)
    assert store.data(RESULT) == b"{}"


def test_models_of_another_bucket_are_neither_older_nor_newer(store, run):
    generation = store.put(IMAGE, picture(kind="PNG"))
    metadata = {"tenant-vision-image-generation": str(generation), "tenant-vision-model-detect": "before#9999"}
    store.put(RESULT, b"{}", metadata)
    assert not run(generation).duplicate


def test_thumbnails_lie_beside_the_picture_before_the_result_is_there(store, run):
    store.put(IMAGE, picture((128, 64), kind="PNG"))
    sizes = {"results/tenant-001/a.png/thumbnail-64.jpg": 64, "results/tenant-001/a.png/thumbnail-1024.jpg": 128}
    store.failures["write", RESULT] = StorageUnavailable("x")
    with pytest.raises(StorageUnavailable):
        run(settings={"thumbnail_sizes": (64, 1024)})
    assert written(store) == sorted([PICTURE, *sizes])
    for name, width in sizes.items():
        assert codec.decode(store.data(name), max_pixels=10**6).shape == (width // 2, width, 3)
        assert store.stat("b", name).metadata == store.stat("b", PICTURE).metadata
