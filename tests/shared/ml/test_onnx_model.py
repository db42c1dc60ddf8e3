"""OnnxModel on small real files: loaded from memory, run, refused."""

import threading

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from shared.errors import InvalidModel
from shared.ml.onnx_model import ModelSource, OnnxModel
from testing import hostile_graphs, models
from testing.pictures import picture

SOURCE = ModelSource("gs://b/models/t/detect.onnx", 1, "AAAAAA==")


def load(data, **options):
    return OnnxModel(data, model_type="detect", source=SOURCE, **options)


@pytest.mark.parametrize(
    "variant",
    [{}, {"dynamic": True}, {"half": True}, {"batch": 4}, {"without_metadata": True}, {"ballast": 100_000}],
)
def test_every_variant_answers_what_it_was_made_with(variant):
    data = models.detect(**variant)
    model = load(data)
    white = np.ones((model.export.batch or 1, 3, *models.CANVAS_HW), model.export.dtype)
    [answer] = model.run(white)
    boxes = np.array(models.BOXES)
    np.testing.assert_allclose(answer[0, :4, :2].T, boxes[:, :4])
    np.testing.assert_allclose(answer[0, [4, 5], [0, 1]], boxes[:, 5], atol=1e-3)
    np.testing.assert_allclose(model.run(white / 2)[0][0, 4:], answer[0, 4:] / 2, atol=1e-3)
    assert (model.file_bytes, model.source) == (len(data), SOURCE)


BROKEN = {
    "nothing": b"",
    "a byte": b"\0",
    "a text": b"this is no model",
    "a picture": picture(),
    "zeros": bytes(10_000),
    "half a file": models.detect()[:400],
    "a file without its end": models.detect()[:-30],
    "a file with another's middle": models.detect()[:300] + b"\xff" * 100 + models.detect()[400:],
    "data beside it": models.detect(external="weights.bin"),
    "data above it": models.detect(external="../weights.bin"),
    "data anywhere": models.detect(external="/etc/hostname"),
    "data of a device": models.detect(external="/dev/zero"),
    "an output of texts": models.passing(np.full((1, 6, 8), "1", object), dtype=TensorProto.STRING),
    "another task": models.detect(metadata={"task": "classify"}),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_file_that_is_no_such_model_is_refused_with_a_sentence(what):
    with pytest.raises(InvalidModel) as caught:
        load(BROKEN[what])
    assert str(caught.value).startswith(("The file", "The model", "The output", "A detect model"))


def test_data_outside_the_file_is_refused_also_where_it_lies(tmp_path, monkeypatch):
    """ONNX Runtime would read any file under the working directory: another tenant's, for example."""
    (tmp_path / "weights.bin").write_bytes(bytes(10_000))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidModel):
        load(models.detect(external="weights.bin"))


def test_a_model_that_fails_on_its_input_is_an_invalid_model():
    model = load(models.failing())
    with pytest.raises(InvalidModel):
        model.run(np.ones((1, 3, 64, 64), np.float32))


@pytest.mark.parametrize("shape", [(0, 6, 8), (1, 4, 8), (1, 5, 8), (1, 7, 8), (2, 6, 8), (6, 8), (1, 1, 6, 8)])
def test_an_answer_of_another_shape_than_the_file_promised_is_an_invalid_model(shape):
    """Dimensions that a file leaves open it may fill with anything."""
    data = models.passing(np.zeros(shape, np.float32), declared=["a", "b", "c"])
    with pytest.raises(InvalidModel):
        load(data).run(np.ones((1, 3, 64, 64), np.float32))


def test_an_answer_without_boxes_is_an_answer():
    model = load(models.passing(np.zeros((1, 6, 0), np.float32), declared=["a", "b", "c"]))
    assert model.run(np.ones((1, 3, 64, 64), np.float32))[0].shape == (1, 6, 0)


def test_a_run_keeps_nothing_and_many_may_run_at_once():
    model = load(models.detect())
    answers = {}

    def run(light):
        batch = np.full((1, 3, 64, 64), light, np.float32)
        answers[light] = [float(model.run(batch)[0][0, 4, 0]) for _ in range(20)]

    threads = [threading.Thread(target=run, args=(light,)) for light in (0.0, 0.25, 0.5, 1.0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for light, found in answers.items():
        np.testing.assert_allclose(found, 0.9 * light, rtol=1e-6)


@pytest.mark.parametrize(
    ("image", "said", "sentence"),
    [
        ([1], {}, "expected images"),
        ([1, 4, 64, 64], {}, "has 4 channels"),
        ([1, 3, 64, 64], {"task": "segment"}, "for the task 'segment'"),
        ([1, 3, 64, 64], {}, "not a model that ONNX Runtime"),
    ],
)
def test_what_takes_no_images_is_refused_before_it_is_a_session(image, said, sentence):
    """Of an operator that there is not no session can be made: who tried would hear of nothing else."""
    node = hostile_graphs.node("NoSuchThing", "answer", "output0")
    takes = onnx.helper.make_tensor_value_info("images", TensorProto.FLOAT, image)
    with pytest.raises(InvalidModel, match=sentence):
        load(hostile_graphs.data([node], image=takes, said=said))
