"""Tests fast against exact resampling, from file to result: equal detections in full-resolution px."""

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from PIL import Image

from shared.config import Config
from shared.errors import InvalidPipeline, ModelNotFound
from shared.events import ImageRef, Request
from shared.ml.model_cache import ModelCache
from shared.pipeline.definitions import Plan
from shared.pipeline.runner import PipelineRunner
from shared.runtime.event_record import event_record
from shared.steps.detection_step import DetectionStep
from shared.vision.arrays import Pixels, SizeHW
from shared.vision.images import codec
from testing import models
from testing.memory_store import MemoryStore
from testing.scenes import BLUE, RED, scene

CONFIG = Config(gcs_bucket="b", error_topic="e", upload_bucket="b", results_bucket="b")
IMAGE = "uploads/tenant-001/a"
PICTURE, RESULT = "results/tenant-001/a/annotated.jpg", "results/tenant-001/a/result.json"
CANVAS_HW = (64, 96)
ORIENTATION = 0x0112
STORED_TRANSPOSE = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def image_file(image: Pixels, kind: str = "JPEG", orientation: int = 1) -> bytes:
    """Return an upright image as a file with an EXIF orientation, its pixels stored accordingly."""
    stored = Image.fromarray(image)
    transpose = STORED_TRANSPOSE[orientation]
    if transpose is not None:
        stored = stored.transpose(transpose)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    file = io.BytesIO()
    stored.save(file, kind, exif=exif, **({"quality": 95, "subsampling": 0} if kind == "JPEG" else {}))
    return file.getvalue()


def enlarged_scene(factor: int, canvas_hw: SizeHW = CANVAS_HW, cut: tuple[int, int] = (0, 0)) -> Pixels:
    """Return rectangles scaled up by a factor; `cut`: rows and columns removed at the bottom and right."""
    rectangles = [(8, 6, 20, 16, RED), (60, 40, 76, 58, BLUE), (40, 8, 52, 30, RED)]
    image = scene(canvas_hw, rectangles).repeat(factor, axis=0).repeat(factor, axis=1)
    return np.ascontiguousarray(image[: image.shape[0] - cut[0], : image.shape[1] - cut[1]])


@pytest.fixture
def store() -> Iterator[MemoryStore]:
    yield MemoryStore()
    ModelCache.clear_cache()


@pytest.fixture
def validate(root: Path) -> Callable[[Any], None]:
    return jsonschema.Draft202012Validator(
        json.loads((root / "shared/schemas/result.schema.json").read_text())
    ).validate


@pytest.fixture
def run(store: MemoryStore, validate: Callable[[Any], None]) -> Callable[..., tuple[Any, Any]]:
    """Return a function that runs a pipeline with options: its document and the picture's size (w, h)."""
    ModelCache.configure(store, bucket="b", threads=1, refresh_s=0.0)

    def run(pipeline: str = "detect", **options: Any) -> tuple[Any, Any]:
        request = Request(tenant_id="tenant-001", image=ImageRef("b", IMAGE), pipeline=pipeline, options=options)
        with event_record():
            outcome = PipelineRunner(store, CONFIG).run(request)
        if outcome.duplicate:
            return None, None
        document = json.loads(store.data(RESULT))
        validate(document)
        return document, Image.open(io.BytesIO(store.data(PICTURE))).size

    return run


def put(store: MemoryStore, data: bytes, **files: bytes) -> None:
    store.put(IMAGE, data)
    for model_type, file in files.items():
        store.put(f"models/tenant-001/{model_type}.onnx", file)


def assert_same(exact: Any, fast: Any, key: str, within_px: float) -> None:
    assert [each["label"] for each in fast[key]] == [each["label"] for each in exact[key]]
    assert len(exact[key]) == 3
    np.testing.assert_allclose(
        [each["box"] for each in fast[key]], [each["box"] for each in exact[key]], atol=within_px
    )


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("cut", [(0, 0), (1, 3), (7, 5)])
@pytest.mark.parametrize("orientation", STORED_TRANSPOSE)
def test_fast_boxes_match_exact_ones_in_each_exif_orientation(
    orientation: int,
    cut: tuple[int, int],
    *,
    dynamic: bool,
    store: MemoryStore,
    run: Callable[..., tuple[Any, Any]],
) -> None:
    model = models.blob_detector(canvas_hw=(96, 96) if dynamic else CANVAS_HW, dynamic=dynamic)
    put(store, image_file(enlarged_scene(8, cut=cut), orientation=orientation), detect=model)
    exact, exact_size = run()
    fast, picture = run(resampling="fast")
    height, width = 64 * 8 - cut[0], 96 * 8 - cut[1]
    assert (exact["image"]["width"], exact["image"]["height"]) == (width, height)
    assert fast["image"] == exact["image"]
    assert exact_size == (width, height)
    if cut == (0, 0):
        assert picture == (96, 64)
        assert fast["detections"] == exact["detections"], "averages of pixels that are all the same"
    assert_same(exact, fast, "detections", 8 + 0.1)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_other_formats_are_decoded_at_full_resolution_and_averaged(
    kind: str, store: MemoryStore, run: Callable[..., tuple[Any, Any]]
) -> None:
    put(store, image_file(enlarged_scene(8), kind), detect=models.blob_detector(canvas_hw=CANVAS_HW))
    exact, _ = run()
    fast, picture = run(resampling="fast")
    assert picture == (96 * 8, 64 * 8)
    assert_same(exact, fast, "detections", 0.01 if kind != "WEBP" else 8.1)


@pytest.mark.parametrize(
    ("pipeline", "options"),
    [
        ("detect", {}),
        ("segment", {}),
        ("sahi_detect", {"slice_size": [512, 768]}),
        ("sahi_detect", {"slice_size": [512, 768], "model": "segment"}),
    ],
)
def test_fast_resampling_averages_pixels_in_each_step(
    pipeline: str, options: dict[str, Any], store: MemoryStore, run: Callable[..., tuple[Any, Any]]
) -> None:
    """Four red pixels in each 8 x 8, which are the ones that exact resampling picks."""
    image = enlarged_scene(8)
    seen = np.isin(np.arange(768) % 8, (3, 4))
    image[~(seen[:512, None] & seen)] = 0
    put(
        store,
        image_file(image, "PNG"),
        detect=models.blob_detector(canvas_hw=CANVAS_HW),
        segment=models.blob_detector("segment", canvas_hw=CANVAS_HW),
    )
    exact, _ = run(pipeline, **options)
    fast, _ = run(pipeline, resampling="fast", **options)
    assert sum(exact["counts"].values()) == 3
    assert fast["counts"] == {}


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 9), (3, 2), (64, 96), (100, 101)])
def test_fast_equals_exact_without_a_downscale_by_half(
    size_hw: SizeHW, store: MemoryStore, run: Callable[..., tuple[Any, Any]]
) -> None:
    image = np.random.default_rng(3).integers(0, 256, (*size_hw, 3), np.uint8)
    put(store, image_file(image), detect=models.detect(canvas_hw=CANVAS_HW))
    exact, _ = run()
    fast, picture = run(resampling="fast")
    assert picture == size_hw[::-1]
    assert fast["detections"] == exact["detections"] != []


def test_decoded_size_suits_the_largest_canvas_of_the_plan(
    store: MemoryStore, run: Callable[..., tuple[Any, Any]]
) -> None:
    put(
        store,
        image_file(enlarged_scene(8)),
        detect=models.blob_detector(canvas_hw=(32, 48)),
        segment=models.blob_detector("segment", canvas_hw=(130, 192)),
        classify=models.classify(),
    )
    both = {"steps": [{"step": "detect"}, {"step": "segment"}], "resampling": "fast"}
    store.put("models/tenant-001/pipelines.json", json.dumps({"both": both}).encode())
    assert run("detect", resampling="fast")[1] == (96, 64)
    assert run("segment", resampling="fast")[1] == (192, 128)
    assert run("both")[1] == (192, 128)
    assert run("both", resampling="exact")[1] == (768, 512)
    assert run("classify", resampling="fast")[1] == (96, 64), "the short side is 32 px or more"


def test_decoded_size_covers_the_canvas_of_a_stretching_model(
    store: MemoryStore, run: Callable[..., tuple[Any, Any]]
) -> None:
    put(store, image_file(enlarged_scene(8)), detect=models.detect_in_layout("rtdetr", canvas_hw=(256, 64)))
    exact, _ = run()
    fast, picture = run(resampling="fast")
    assert picture == (384, 256)
    assert [each["box"] for each in fast["detections"]] == [each["box"] for each in exact["detections"]]


@pytest.mark.parametrize("resolution", ["canvas", "image"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_fast_segments_are_in_full_resolution_px(
    resolution: str, orientation: int, store: MemoryStore, run: Callable[..., tuple[Any, Any]]
) -> None:
    put(
        store,
        image_file(enlarged_scene(8), orientation=orientation),
        segment=models.blob_detector("segment", canvas_hw=CANVAS_HW),
    )
    exact, _ = run("segment", resolution=resolution, run_lengths=True)
    fast, picture = run("segment", resolution=resolution, run_lengths=True, resampling="fast")
    assert picture == (96, 64)
    assert_same(exact, fast, "segments", 0.01)
    for ours, theirs in zip(fast["segments"], exact["segments"], strict=True):
        assert ours["run_lengths"]["size"] == [64 * 8, 96 * 8]
        assert ours["run_lengths"] == theirs["run_lengths"]
        assert ours["polygons"] == theirs["polygons"]
        assert ours["area"] == theirs["area"] > 64 * 100


@pytest.mark.parametrize("pipeline", ["detect", "segment"])
@pytest.mark.parametrize("factor", [2, 8])
def test_picture_of_reduced_decode_equals_that_of_a_smaller_image(
    pipeline: Any, factor: int, store: MemoryStore, run: Callable[..., tuple[Any, Any]]
) -> None:
    model = models.blob_detector(pipeline, canvas_hw=CANVAS_HW)
    pictures = []
    for image in (enlarged_scene(1), enlarged_scene(factor)):
        put(store, image_file(image), **{pipeline: model})
        assert run(pipeline, resampling="fast")[1] == (96, 64)
        pictures.append(codec.decode(store.data(PICTURE), max_pixels=10**6).astype(int))
    changed = np.abs(pictures[0] - scene(CANVAS_HW)).max(axis=2) > 60
    differ = np.abs(pictures[0] - pictures[1]).max(axis=2) > 60
    assert np.count_nonzero(changed) > 800
    assert np.count_nonzero(differ) < 20, "an outline's corners may be cut otherwise"


def test_fast_classification_matches_exact_one(store: MemoryStore, run: Callable[..., tuple[Any, Any]]) -> None:
    image = scene((256, 400), [(0, 0, 400, 256, (200, 40, 60))])
    put(store, image_file(image), classify=models.classify())
    exact, _ = run("classify")
    fast, picture = run("classify", resampling="fast")
    assert picture == (50, 32)
    assert [each["label"] for each in fast["classification"]] == [
        each["label"] for each in exact["classification"]
    ]
    np.testing.assert_allclose(
        [each["confidence"] for each in fast["classification"]],
        [each["confidence"] for each in exact["classification"]],
        atol=0.003,
    )


def test_steps_that_need_full_resolution_get_it(store: MemoryStore, run: Callable[..., tuple[Any, Any]]) -> None:
    put(
        store,
        image_file(enlarged_scene(4)),
        detect=models.blob_detector(canvas_hw=CANVAS_HW),
        segment=models.blob_detector("segment", canvas_hw=CANVAS_HW),
    )
    for pipeline in ("sahi_detect", "count"):
        options = {"slice_size": [64, 96], "full_image": False}
        exact, _ = run(pipeline, **options)
        fast, picture = run(pipeline, resampling="fast", **options)
        assert picture == (96 * 4, 64 * 4)
        assert fast["detections"] == exact["detections"] != [], "no tile is shrunk"
        assert fast["pipeline_digest"] != exact["pipeline_digest"]


def test_resampling_is_part_of_the_work_id(store: MemoryStore, run: Callable[..., tuple[Any, Any]]) -> None:
    put(store, image_file(enlarged_scene(2)), detect=models.blob_detector(canvas_hw=CANVAS_HW))
    assert run()[0]
    assert not run(resampling="exact")[0], "that is what it was"
    assert run(resampling="fast")[0]
    assert not run(resampling="fast")[0]
    assert run()[0]


def test_digest_omits_default_resampling() -> None:
    steps = (DetectionStep(),)
    assert Plan(steps).digest == Plan(steps, "exact").digest != Plan(steps, "fast").digest


def test_request_overrides_the_resampling_of_a_pipeline(
    store: MemoryStore, run: Callable[..., tuple[Any, Any]]
) -> None:
    put(store, image_file(enlarged_scene(2)), detect=models.blob_detector(canvas_hw=CANVAS_HW))
    own = {"mine": {"steps": [{"step": "detect"}], "resampling": "fast"}}
    store.put("models/tenant-001/pipelines.json", json.dumps(own).encode())
    assert run("mine")[1] == (96, 64)
    assert run("mine", confidence_threshold=0.3)[1] == (96, 64)
    assert run("mine", resampling="exact")[1] == (192, 128)


@pytest.mark.parametrize("resampling", ["quick", "", None, True, ["fast"], {"fast": 1}])
def test_unknown_resampling_is_rejected_with_its_json_path(
    resampling: Any, store: MemoryStore, run: Callable[..., tuple[Any, Any]]
) -> None:
    put(store, image_file(enlarged_scene(1)), detect=models.detect())
    with pytest.raises(InvalidPipeline, match=r"^options: resampling: .* is not one of"):
        run(resampling=resampling)
    own = {"mine": {"steps": [{"step": "detect"}], "resampling": resampling}}
    store.put("models/tenant-001/pipelines.json", json.dumps(own).encode())
    with pytest.raises(InvalidPipeline, match=r"^pipelines.json: mine.resampling: .* is not one of"):
        run("mine")


def test_missing_model_is_reported_before_the_download(
    store: MemoryStore, run: Callable[..., tuple[Any, Any]]
) -> None:
    put(store, image_file(enlarged_scene(1)))
    with pytest.raises(ModelNotFound):
        run(resampling="fast")
    assert not store.calls["read", IMAGE]
