"""Check the committed sample models: their size, their metadata, and their accuracy on new scenes."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from local.folder_store import FolderStore
from samples.scenes import TENANTS, render
from samples.training.evaluate import evaluate_detector
from samples.training.evaluate_segments import evaluate_segmenter
from samples.training.evaluate_states import confusion_matrix
from samples.training.sessions import open_session
from shared.config import Config
from shared.pipeline.definitions import PipelineRegistry
from shared.steps.aggregate_step import AggregateStep
from testing.metrics import mean_average_precision

MODELS = Path(__file__).parents[2] / "samples" / "models"
FILES = sorted(MODELS.glob("*/*.onnx"))
DETECTORS = [MODELS / tenant_id / "detect.onnx" for tenant_id in TENANTS]

every_file = pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
every_detector = pytest.mark.parametrize("path", DETECTORS, ids=lambda path: path.parent.name)


def open_model(path: Path) -> tuple[ort.InferenceSession, dict[str, str]]:
    model = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    metadata = model.get_modelmeta().custom_metadata_map
    return model, {key: metadata[key] for key in metadata}


def test_pipelines_of_the_sample_tenant_are_valid() -> None:
    config = Config(gcs_bucket="b", error_topic="e")
    plan = PipelineRegistry(FolderStore({"models/": MODELS}), config).plan("tenant-001", "count_plants", {})
    assert plan.steps[-1] == AggregateStep()


def test_every_tenant_has_a_detector() -> None:
    assert set(DETECTORS) <= set(FILES)


@every_file
def test_model_file_is_small(path: Path) -> None:
    assert path.stat().st_size < 2_000_000


@every_file
def test_metadata_describes_the_model(path: Path) -> None:
    tenant = TENANTS[path.parent.name]
    _, metadata = open_model(path)
    labels = {"detect": tenant.labels, "segment": tenant.segment_labels, "classify": tenant.states}[path.stem]
    assert metadata["task"] == path.stem
    assert ast.literal_eval(metadata["names"]) == dict(enumerate(labels))
    assert ast.literal_eval(metadata["args"])["nms"] is False
    assert len(ast.literal_eval(metadata["imgsz"])) == 2
    assert metadata["license"] == "Apache-2.0"


@every_detector
def test_detector_has_the_raw_output_layout(path: Path) -> None:
    model, metadata = open_model(path)
    (images,), (output,) = model.get_inputs(), model.get_outputs()
    rows = 4 + len(ast.literal_eval(metadata["names"]))
    assert (images.name, images.type, output.name) == ("images", "tensor(float)", "output0")
    answer = model.run(None, {"images": np.zeros((1, 3, 640, 640), np.float32)})[0]
    assert answer.shape == (1, rows, 8400)
    assert ((answer[:, 4:] >= 0) & (answer[:, 4:] <= 1)).all()


def test_detectors_have_fixed_and_dynamic_input_shapes() -> None:
    free = {isinstance(open_model(path)[0].get_inputs()[0].shape[2], str) for path in DETECTORS}
    assert free == {True, False}


@every_detector
def test_detector_is_accurate_on_new_scenes(path: Path) -> None:
    tenant_id = path.parent.name
    sizes = (18, 28, 45)
    scenes = [render(tenant_id, seed=9100 + px, size_wh=(640, 480), plant_px=px) for px in sizes]
    evaluation = evaluate_detector(tenant_id, open_session(path), scenes)["all"]
    assert mean_average_precision(evaluation.matches_by_class)[0] > 0.9
    assert evaluation.count_error < 0.1


@pytest.mark.parametrize("path", [p for p in FILES if p.stem == "segment"], ids=lambda path: path.parent.name)
def test_segmenter_outputs_coefficients_and_prototypes(path: Path) -> None:
    model, metadata = open_model(path)
    side = ast.literal_eval(metadata["imgsz"])[0]
    output, prototypes = model.run(None, {"images": np.zeros((1, 3, side, side), np.float32)})
    assert [output.name for output in model.get_outputs()] == ["output0", "output1"]
    assert output.shape == (1, 4 + 1 + 32, 21 * side * side // 1024)
    assert prototypes.shape == (1, 32, side // 4, side // 4)


@pytest.mark.parametrize("path", [p for p in FILES if p.stem == "segment"], ids=lambda path: path.parent.name)
def test_segmenter_is_accurate_on_new_scenes(path: Path) -> None:
    scenes = [render(path.parent.name, seed=9200 + i, size_wh=(640, 480)) for i in range(4)]
    seen = evaluate_segmenter(open_session(path), scenes)
    assert mean_average_precision([seen.matches])[0] > 0.9
    assert np.mean(seen.best_ious) > 0.75
    assert np.mean(seen.union_ious) > 0.85


def test_classifier_is_accurate_on_new_scenes() -> None:
    path = MODELS / "tenant-001" / "classify.onnx"
    scenes = [render("tenant-001", seed=9300 + i, size_wh=(640, 480), plant_px=48) for i in range(4)]
    table = confusion_matrix("tenant-001", open_session(path), scenes)
    assert table.sum() > 40
    assert np.trace(table) / table.sum() > 0.9
