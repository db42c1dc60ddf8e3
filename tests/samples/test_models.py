"""The committed sample models: small, honest about themselves, and good on scenes they never saw."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from local.folder_store import FolderStore
from samples.scenes import TENANTS, render
from samples.training.evaluate import measured
from samples.training.evaluate_segments import measured_masks
from samples.training.evaluate_states import confusion
from samples.training.sessions import session
from shared.config import Config
from shared.pipeline.definitions import PipelineRegistry
from shared.steps.aggregate_step import AggregateStep
from testing.metrics import mean_average_precision

MODELS = Path(__file__).parents[2] / "samples" / "models"
FILES = sorted(MODELS.glob("*/*.onnx"))
DETECTORS = [MODELS / tenant_id / "detect.onnx" for tenant_id in TENANTS]

every_file = pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
every_detector = pytest.mark.parametrize("path", DETECTORS, ids=lambda path: path.parent.name)


def opened(path):
    model = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    said = model.get_modelmeta().custom_metadata_map
    return model, {key: said[key] for key in said}


def test_the_pipelines_of_a_tenant_are_valid_and_say_how_it_counts():
    config = Config(gcs_bucket="b", error_topic="e")
    plan = PipelineRegistry(FolderStore({"models/": MODELS}), config).plan("tenant-001", "count_plants", {})
    assert plan.steps[-1] == AggregateStep()


def test_every_tenant_has_a_detector():
    assert set(DETECTORS) <= set(FILES)


@every_file
def test_a_file_is_small(path):
    assert path.stat().st_size < 2_000_000


@every_file
def test_a_file_says_what_it_is(path):
    tenant = TENANTS[path.parent.name]
    _, said = opened(path)
    labels = {"detect": tenant.labels, "segment": tenant.segment_labels, "classify": tenant.states}[path.stem]
    assert said["task"] == path.stem
    assert ast.literal_eval(said["names"]) == dict(enumerate(labels))
    assert ast.literal_eval(said["args"])["nms"] is False
    assert len(ast.literal_eval(said["imgsz"])) == 2
    assert said["license"] == "Apache-2.0"


@every_detector
def test_a_detector_answers_in_the_raw_layout(path):
    model, said = opened(path)
    (images,), (output,) = model.get_inputs(), model.get_outputs()
    rows = 4 + len(ast.literal_eval(said["names"]))
    assert (images.name, images.type, output.name) == ("images", "tensor(float)", "output0")
    answer = model.run(None, {"images": np.zeros((1, 3, 640, 640), np.float32)})[0]
    assert answer.shape == (1, rows, 8400)
    assert ((answer[:, 4:] >= 0) & (answer[:, 4:] <= 1)).all()


def test_both_fixed_and_free_shapes_are_among_the_detectors():
    free = {isinstance(opened(path)[0].get_inputs()[0].shape[2], str) for path in DETECTORS}
    assert free == {True, False}


@every_detector
def test_a_detector_finds_what_grows_in_fresh_scenes(path):
    tenant_id = path.parent.name
    sizes = (18, 28, 45)
    scenes = [render(tenant_id, seed=9100 + px, size_wh=(640, 480), plant_px=px) for px in sizes]
    tally = measured(tenant_id, session(path), scenes)["all"]
    assert mean_average_precision(tally.ledgers)[0] > 0.9
    assert tally.count_error < 0.1


@pytest.mark.parametrize("path", [p for p in FILES if p.stem == "segment"], ids=lambda path: path.parent.name)
def test_a_segmenter_answers_with_terms_and_prototypes(path):
    model, said = opened(path)
    side = ast.literal_eval(said["imgsz"])[0]
    output, prototypes = model.run(None, {"images": np.zeros((1, 3, side, side), np.float32)})
    assert [output.name for output in model.get_outputs()] == ["output0", "output1"]
    assert output.shape == (1, 4 + 1 + 32, 21 * side * side // 1024)
    assert prototypes.shape == (1, 32, side // 4, side // 4)


@pytest.mark.parametrize("path", [p for p in FILES if p.stem == "segment"], ids=lambda path: path.parent.name)
def test_a_segmenter_finds_the_areas_of_fresh_scenes(path):
    scenes = [render(path.parent.name, seed=9200 + i, size_wh=(640, 480)) for i in range(4)]
    seen = measured_masks(session(path), scenes)
    assert mean_average_precision([seen.ledger])[0] > 0.9
    assert np.mean(seen.best) > 0.75
    assert np.mean(seen.ground) > 0.85


def test_a_classifier_tells_how_plants_are():
    path = MODELS / "tenant-001" / "classify.onnx"
    scenes = [render("tenant-001", seed=9300 + i, size_wh=(640, 480), plant_px=48) for i in range(4)]
    table = confusion("tenant-001", session(path), scenes)
    assert table.sum() > 40
    assert np.trace(table) / table.sum() > 0.9
