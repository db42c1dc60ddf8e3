"""OnnxModel: loads small real files from memory, runs them, and rejects what is no model of its type."""

import threading
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from shared.errors import InstanceExhausted, InvalidModel
from shared.ml.onnx_model import ModelSource, OnnxModel
from testing import hostile_graphs, models
from testing.pictures import picture

SOURCE = ModelSource("gs://b/models/t/detect.onnx", 1, "AAAAAA==")
WHITE = np.ones((1, 3, 64, 64), np.float32)


def load(data: bytes) -> OnnxModel:
    return OnnxModel(data, model_type="detect", source=SOURCE)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="static"),
        pytest.param({"dynamic": True}, id="dynamic"),
        pytest.param({"half": True}, id="float16"),
        pytest.param({"batch": 4}, id="batch of 4"),
        pytest.param({"without_metadata": True}, id="without metadata"),
        pytest.param({"ballast": 100_000}, id="100 kB of weights"),
    ],
)
def test_run_returns_the_known_boxes_and_scores(options: dict[str, Any]) -> None:
    data = models.detect(**options)
    model = load(data)
    white = np.ones((model.export.batch or 1, 3, *models.CANVAS_HW), model.export.dtype)

    [output] = model.run(white)

    boxes = np.array(models.BOXES)
    np.testing.assert_allclose(output[0, :4, :2].T, boxes[:, :4])
    np.testing.assert_allclose(output[0, [4, 5], [0, 1]], boxes[:, 5], atol=1e-3)
    np.testing.assert_allclose(model.run(white / 2)[0][0, 4:], output[0, 4:] / 2, atol=1e-3)
    assert (model.file_bytes, model.source) == (len(data), SOURCE)


@pytest.mark.parametrize(
    "error",
    [RuntimeError("can't start new thread"), RuntimeError("pthread_create failed, error code: 11")],
    ids=["Python", "ONNX Runtime"],
)
def test_instance_without_threads_does_not_blame_the_model(error: Exception) -> None:
    with mock.patch("onnxruntime.InferenceSession", side_effect=error), pytest.raises(InstanceExhausted):
        load(models.detect())

    model = load(models.detect())
    with mock.patch("shared.ml.bounded_run.run", side_effect=error), pytest.raises(InstanceExhausted):
        model.run(WHITE)
    assert model.run(WHITE)


INVALID_FILES = {
    "empty": b"",
    "a zero byte": b"\0",
    "text": b"this is no model",
    "JPEG": picture(),
    "zeros": bytes(10_000),
    "cut in the middle": models.detect()[:400],
    "cut before its end": models.detect()[:-30],
    "damaged in the middle": models.detect()[:300] + b"\xff" * 100 + models.detect()[400:],
    "weights in the same folder": models.detect(external="weights.bin"),
    "weights in the parent folder": models.detect(external="../weights.bin"),
    "weights at an absolute path": models.detect(external="/etc/hostname"),
    "weights in a device": models.detect(external="/dev/zero"),
    "output of strings": models.constant_output(np.full((1, 6, 8), "1", object), dtype=TensorProto.STRING),
    "another task": models.detect(metadata={"task": "classify"}),
}


@pytest.mark.parametrize("data", INVALID_FILES.values(), ids=INVALID_FILES)
def test_load_rejects_an_invalid_file_with_a_message(data: bytes) -> None:
    with pytest.raises(InvalidModel) as caught:
        load(data)
    assert str(caught.value).startswith(("The file", "The model", "The output", "A detect model"))


def test_load_rejects_external_weights_even_where_the_file_exists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime would read any file under the working directory: another tenant's, for example."""
    (tmp_path / "weights.bin").write_bytes(bytes(10_000))
    monkeypatch.chdir(tmp_path)

    with pytest.raises(InvalidModel):
        load(models.detect(external="weights.bin"))


def test_run_reports_a_model_that_fails_as_invalid() -> None:
    model = load(models.failing())
    with pytest.raises(InvalidModel):
        model.run(WHITE)


@pytest.mark.parametrize("shape", [(0, 6, 8), (1, 4, 8), (1, 5, 8), (1, 7, 8), (2, 6, 8), (6, 8), (1, 1, 6, 8)])
def test_run_rejects_an_output_of_an_undeclared_shape(shape: tuple[int, ...]) -> None:
    """A model may give its dynamic dimensions any size; ONNX Runtime infers another rank as it loads the model."""
    data = models.constant_output(np.zeros(shape, np.float32), declared=["a", "b", "c"])
    with pytest.raises(InvalidModel):
        load(data).run(WHITE)


def test_run_accepts_an_output_without_boxes() -> None:
    model = load(models.constant_output(np.zeros((1, 6, 0), np.float32), declared=["a", "b", "c"]))
    assert model.run(WHITE)[0].shape == (1, 6, 0)


def test_concurrent_runs_do_not_affect_each_other() -> None:
    model = load(models.detect())
    scores: dict[float, list[float]] = {}

    def run(brightness: float) -> None:
        batch = np.full((1, 3, 64, 64), brightness, np.float32)
        scores[brightness] = [float(model.run(batch)[0][0, 4, 0]) for _ in range(20)]

    threads = [threading.Thread(target=run, args=(brightness,)) for brightness in (0.0, 0.25, 0.5, 1.0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    for brightness, of_brightness in scores.items():
        np.testing.assert_allclose(of_brightness, 0.9 * brightness, rtol=1e-6)


@pytest.mark.parametrize(
    ("image_shape", "metadata", "message"),
    [
        pytest.param([1], {}, "expected images", id="one dimension"),
        pytest.param([1, 4, 64, 64], {}, "has 4 channels", id="four channels"),
        pytest.param([1, 3, 64, 64], {"task": "segment"}, "for the task 'segment'", id="another task"),
        pytest.param([1, 3, 64, 64], {}, "not a model that ONNX Runtime", id="an image"),
    ],
)
def test_load_checks_task_and_input_before_it_creates_a_session(
    image_shape: list[int], metadata: dict[str, str], message: str
) -> None:
    """No session can be created for an unknown operator: its error would come first."""
    node = hostile_graphs.node("NoSuchThing", "answer", "output0")
    image = onnx.helper.make_tensor_value_info("images", TensorProto.FLOAT, image_shape)
    with pytest.raises(InvalidModel, match=message):
        load(hostile_graphs.model_bytes([node], image=image, metadata=metadata))


def test_file_that_cannot_be_loaded_is_loaded_once_and_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """ONNX Runtime's message names the mode, which is not UTF-8: its wrapper would print that and try again."""
    mode = b"\xff\xfe"
    resize = helper.make_node("Resize", ["images", "", "scales"], ["big"], coordinate_transformation_mode=mode)
    data = hostile_graphs.depending_on("big", resize, constants={"scales": np.ones(4, np.float32)})

    with pytest.raises(InvalidModel, match=r"not a model that ONNX Runtime .* can load"):
        load(data)

    assert capfd.readouterr() == ("", "")
