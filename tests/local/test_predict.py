"""The command `predict` with a small real model that detects two boxes in any image."""

import io
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import jsonschema
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from local.__main__ import main
from local.predict import Prediction, describe_result, table
from shared.cloud.objects import crc32c

ROOT = Path(__file__).resolve().parents[2]
VOLATILE_FIELDS = ("created_at", "timings_ms", "event_id")


class Predict(Protocol):
    def __call__(
        self, *options: str | Path, tenant: str = "tenant-001", out: Path = ...
    ) -> tuple[int | str | None, str, str]: ...


def detect_model(labels: Sequence[str]) -> bytes:
    """Return a model (canvas 64 px) that outputs two boxes of the first label (0.9 and 0.6) for any image."""
    answer = np.zeros((1, 4 + len(labels), 8), np.float32)
    answer[0, :5, 0] = 16, 16, 10, 10, 0.9
    answer[0, :5, 1] = 48, 40, 8, 12, 0.6
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["zero_mean"]),
        helper.make_node("Add", ["zero_mean", "answer"], ["output0"]),
    ]
    graph = helper.make_graph(
        nodes,
        "two_boxes",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 64, 64])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, list(answer.shape))],
        [
            numpy_helper.from_array(np.zeros(1, np.float32), "zero"),
            numpy_helper.from_array(answer, "answer"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    helper.set_model_props(
        model, {"task": "detect", "stride": "32", "names": str(dict(enumerate(labels))), "imgsz": "[64, 64]"}
    )
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


@pytest.fixture
def models(tmp_path: Path) -> Path:
    path = tmp_path / "models" / "tenant-001" / "detect.onnx"
    path.parent.mkdir(parents=True)
    path.write_bytes(detect_model(("plant", "weed")))
    return tmp_path / "models"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with two valid images, and a truncated one between them."""
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.new("RGB", (128, 64), "green").save(folder / "bed.jpg")
    (folder / "broken.jpg").write_bytes((folder / "bed.jpg").read_bytes()[:200])
    Image.new("RGB", (32, 48), "brown").save(folder / "tray.png")
    return folder


@pytest.fixture
def predict(
    tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Predict:
    """Runs the command in this process, with results in `out`: (exit status, stdout, stderr)."""
    for name in ("GCS_BUCKET", "ERROR_TOPIC", "DEFAULT_PIPELINE", "CONFIDENCE_THRESHOLD"):
        monkeypatch.delenv(name, raising=False)

    def run(
        *options: str | Path, tenant: str = "tenant-001", out: Path = tmp_path / "out"
    ) -> tuple[int | str | None, str, str]:
        status: int | str | None
        arguments = ["predict", "--models", str(models), "--tenant", tenant, "--out", str(out)]
        try:
            status = main([*arguments, *map(str, options)])
        except SystemExit as stop:
            status = stop.code
        return (status, *capsys.readouterr())

    return run


def documents(out: Path) -> dict[str, Any]:
    return {path.parent.name: json.loads(path.read_text()) for path in sorted(out.glob("*/result.json"))}


def test_predict_without_image_prints_usage(predict: Predict) -> None:
    status, _, stderr = predict()

    assert status == 2
    assert "IMAGE" in stderr


def test_each_image_gets_result_and_picture(predict: Predict, photos: Path, models: Path, tmp_path: Path) -> None:
    status, stdout, stderr = predict(photos / "bed.jpg", photos / "tray.png")

    assert (status, stderr) == (0, "")
    results = documents(tmp_path / "out")
    assert list(results) == ["bed.jpg", "tray.png"]
    schema = json.loads((ROOT / "shared" / "schemas" / "result.schema.json").read_text())
    for document in results.values():
        jsonschema.validate(document, schema)
        assert document["tenant_id"] == "tenant-001"
        assert document["counts"] == {"plant": 2}
        assert document["models"]["detect"]["crc32c"] == crc32c(
            (models / "tenant-001" / "detect.onnx").read_bytes()
        )
    assert results["bed.jpg"]["detections"][0]["box"] == [22, 0, 42, 10]  # 128x64 lies in rows 16 to 48 of 64
    for name, size in {"bed.jpg": (128, 64), "tray.png": (32, 48)}.items():
        picture = Image.open(io.BytesIO((tmp_path / "out" / name / "annotated.jpg").read_bytes()))
        assert (picture.format, picture.size) == ("JPEG", size)
    assert [line.split()[:3] for line in stdout.splitlines()[1:3]] == [
        ["bed.jpg", "2", "plant"],
        ["tray.png", "2", "plant"],
    ]


def test_second_run_overwrites_results_with_new_model(
    predict: Predict, photos: Path, models: Path, tmp_path: Path
) -> None:
    predict(photos / "bed.jpg")
    first = documents(tmp_path / "out")["bed.jpg"]
    predict(photos / "bed.jpg")
    second = documents(tmp_path / "out")["bed.jpg"]
    (models / "tenant-001" / "detect.onnx").write_bytes(detect_model(("seedling",)))
    predict(photos / "bed.jpg")
    third = documents(tmp_path / "out")["bed.jpg"]

    assert second["created_at"] > first["created_at"]
    for key in VOLATILE_FIELDS:
        first.pop(key), second.pop(key)
    assert second == first
    assert third["counts"] == {"seedling": 2}
    assert third["models"]["detect"]["generation"] > first["models"]["detect"]["generation"]


def test_missing_model_is_reported_with_its_path(predict: Predict, photos: Path, tmp_path: Path) -> None:
    status, stdout, stderr = predict(photos / "bed.jpg", photos / "tray.png", tenant="tenant-003")

    assert status == 1
    assert "Model 'detect' not found for tenant 'tenant-003'" in stderr
    assert str(tmp_path / "models" / "tenant-003" / "detect.onnx") in stderr
    assert len(stderr.splitlines()) == 1
    assert stdout == ""
    assert not (tmp_path / "out").exists()


def test_invalid_model_ends_the_run(predict: Predict, photos: Path, models: Path) -> None:
    (models / "tenant-001" / "detect.onnx").write_bytes(b"not a model")

    status, stdout, stderr = predict(photos / "bed.jpg")

    assert (status, stdout) == (1, "")
    assert "not an ONNX model" in stderr


@pytest.mark.parametrize(
    ("name", "why"), [("broken.jpg", "truncated or corrupt"), ("gone.jpg", "there is no such file")]
)
def test_unreadable_image_is_reported_and_others_continue(
    predict: Predict, photos: Path, tmp_path: Path, name: str, why: str
) -> None:
    status, stdout, stderr = predict(photos / name, photos / "bed.jpg")

    assert status == 1
    assert str(photos / name) in stderr
    assert why in stderr
    assert list(documents(tmp_path / "out")) == ["bed.jpg"]
    assert "1 of 2 images done" in stdout


def test_folder_and_text_file_are_reported_as_no_images(predict: Predict, photos: Path) -> None:
    (photos / "notes.txt").write_text("water the plants")

    status, _, stderr = predict(photos, photos / "notes.txt")

    assert status == 1
    assert f"{photos}: there is no such file" in stderr
    assert "notes.txt: The file is not one of the accepted formats" in stderr


@pytest.mark.parametrize(
    ("arguments", "tenant", "message"),
    [
        (["--pipeline", "detekt"], "tenant-001", "unknown pipeline 'detekt'; known pipelines: "),
        (["--pipeline", "../detect"], "tenant-001", "pipeline must be a name"),
        (
            ["--options", "{reading: fast}"],
            "tenant-001",
            "--options='{reading: fast}' is invalid: expected a JSON object",
        ),
        (["--options", ""], "tenant-001", "--options='' is invalid: expected a JSON object"),
        (["--options", '["fast"]'], "tenant-001", "options must be a JSON object, got an array"),
        (["--options", '{"resampling": "quick"}'], "tenant-001", "options: resampling: 'quick' is not one of"),
        (["--options", '{"colour": 1}'], "tenant-001", "unknown option 'colour'; known options: "),
        ([], "../tenant-001", "tenant_id must be 1 to 63"),
        ([], "Tenant", "tenant_id must be 1 to 63"),
    ],
)
def test_invalid_argument_ends_the_run(
    predict: Predict, photos: Path, arguments: list[str], tenant: str, message: str
) -> None:
    status, stdout, stderr = predict(photos / "bed.jpg", *arguments, tenant=tenant)

    assert (status, stdout) == (1, "")
    assert message in stderr


def test_two_images_of_one_name_are_rejected_before_the_run(
    predict: Predict, photos: Path, tmp_path: Path
) -> None:
    (photos / "more").mkdir()
    other = photos / "more" / "bed.jpg"
    other.write_bytes((photos / "bed.jpg").read_bytes())

    status, _, stderr = predict(photos / "tray.png", photos / "bed.jpg", other)

    assert status == 1
    assert f"{photos / 'bed.jpg'} and {other} have the same name" in stderr
    assert not (tmp_path / "out").exists()


def test_image_given_twice_runs_once(predict: Predict, photos: Path) -> None:
    status, stdout, _ = predict(photos / "bed.jpg", photos / "." / "more" / ".." / "bed.jpg")

    assert status == 0
    assert "1 of 1 images done" in stdout


def test_out_folder_of_the_images_is_rejected(predict: Predict, photos: Path) -> None:
    status, _, stderr = predict(photos / "bed.jpg", out=photos)

    assert status == 1
    assert f"{photos / 'bed.jpg'} is a file" in stderr
    assert sorted(path.name for path in photos.iterdir()) == ["bed.jpg", "broken.jpg", "tray.png"]


@pytest.mark.parametrize(("value", "summary"), [("0.5", "2 plant"), ("0.75", "1 plant"), ("0.95", "nothing")])
def test_confidence_threshold_of_environment_applies(
    predict: Predict, photos: Path, monkeypatch: pytest.MonkeyPatch, value: str, summary: str
) -> None:
    monkeypatch.setenv("CONFIDENCE_THRESHOLD", value)

    status, stdout, _ = predict(photos / "bed.jpg")

    assert status == 0
    assert stdout.splitlines()[1].startswith(f"bed.jpg  {summary} ")


def test_options_are_those_of_a_message(predict: Predict, photos: Path, tmp_path: Path) -> None:
    Image.new("RGB", (512, 256), "green").save(photos / "far.jpg")

    status, stdout, stderr = predict(
        photos / "far.jpg", "--options", '{"resampling": "fast", "confidence_threshold": 0.7}'
    )

    assert (status, stderr) == (0, "")
    assert stdout.splitlines()[1].startswith("far.jpg  1 plant ")
    document = documents(tmp_path / "out")["far.jpg"]
    assert (document["image"]["width"], document["image"]["height"]) == (512, 256)
    assert document["detections"][0]["box"] == [88, 0, 168, 40]
    picture = (tmp_path / "out" / "far.jpg" / "annotated.jpg").read_bytes()
    assert Image.open(io.BytesIO(picture)).size == (64, 32)


def test_invalid_setting_is_reported_by_name(
    predict: Predict, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONFIDENCE_THRESHOLD", "high")

    status, _, stderr = predict(photos / "bed.jpg")

    assert status == 1
    assert "CONFIDENCE_THRESHOLD='high' is invalid: expected 0 to 1" in stderr


@pytest.mark.parametrize(
    ("done", "lines"),
    [
        ([], ["image  found  ms"]),
        ([Prediction(Path("a/bed.jpg"), "nothing", 8.4)], ["image    found    ms", "bed.jpg  nothing   8"]),
        (
            [Prediction(Path("b.jpg"), "212 plant, 3 weed", 84.2), Prediction(Path("c.jpg"), error="why")],
            ["image  found              ms", "b.jpg  212 plant, 3 weed  84", "c.jpg  failed              -"],
        ),
    ],
)
def test_table_has_one_row_for_each_image(done: list[Prediction], lines: list[str]) -> None:
    assert table(done).splitlines() == lines


@pytest.mark.parametrize(
    ("document", "description"),
    [
        ({"counts": {}}, "nothing"),
        ({"counts": {}, "detections": [], "classification": []}, "nothing"),
        ({"counts": {"plant": 212, "weed": 3}}, "212 plant, 3 weed"),
        ({"counts": {}, "classification": [{"label": "healthy", "confidence": 0.974}]}, "healthy 97%"),
        ({"counts": {"bed": 1}, "classification": [{"label": "dry", "confidence": 0.5}]}, "1 bed, dry 50%"),
    ],
)
def test_describe_result_names_counts_and_class(document: dict[str, Any], description: str) -> None:
    assert describe_result(document) == description


def test_import_of_predict_loads_no_google_clients_or_tqdm() -> None:
    script = "import sys, local.predict; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)

    assert not {"google.cloud.storage", "google.auth", "grpc", "requests", "flask", "tqdm"} & set(
        done.stdout.split()
    )
